import type { Manifest } from '../bundle/manifest.ts'
import type { Window } from '../drift/reference.ts'
import type { EngineAnswer, EngineRequest, GenerationEvent, GenerationRequest } from './messages.ts'
import { featureExtractionRunner } from './runners/feature-extraction.ts'
import { fillMaskRunner } from './runners/fill-mask.ts'
import { imageClassificationRunner } from './runners/image-classification.ts'
import { tensorRunner } from './runners/tensor.ts'
import { textClassificationRunner } from './runners/text-classification.ts'
import { textGenerationRunner } from './runners/text-generation.ts'
import { tokenClassificationRunner } from './runners/token-classification.ts'

/** Runs requests of one bundle; `run` yields an answer for each, in whatever order they are done. */
export interface Runner {
  readonly batches: number
  run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer>
  /** Writes a text, beside other generations that are under way; ends with an `end` event, soon after `signal` fires. */
  generate?(request: GenerationRequest, signal: AbortSignal): AsyncIterable<GenerationEvent>
  /** Gives memory back; a process of its own need not be told. */
  close?(): Promise<void>
}

interface RunnerOptions {
  threads: number
  /** Most tokens in one batch, padding included. */
  tokenBudget: number
  /** Told of each full window of requests, where the version has a reference to compare it with. */
  onWindow?: (window: Window) => void
}

/** Opens a bundle of one task; `read` gives its files. Throws MODEL_INVALID or BUNDLE_INVALID. */
export type OpenRunner = (
  manifest: Manifest,
  read: (file: string) => Uint8Array,
  options: RunnerOptions,
) => Promise<Runner>

/** How a bundle of each task is run. */
const runners: Record<Manifest['task'], OpenRunner> = {
  'text-classification': textClassificationRunner,
  'token-classification': tokenClassificationRunner,
  'feature-extraction': featureExtractionRunner,
  'fill-mask': fillMaskRunner,
  'text-generation': textGenerationRunner,
  'image-classification': imageClassificationRunner,
  tensor: tensorRunner,
}

export const createRunner: OpenRunner = (manifest, read, options) => runners[manifest.task](manifest, read, options)
