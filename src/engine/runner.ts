import { type HubTaskName, ownTask } from '../bundle/hub.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Window } from '../drift/sketch.ts'
import type { EngineAnswer, EngineRequest, GenerationEvent, GenerationRequest } from './messages.ts'

/** Runs requests of one bundle; `run` yields an answer for each, in whatever order they are done. */
export interface Runner {
  readonly batches: number
  /** `alone`: nothing else is to be run meanwhile. */
  run(requests: EngineRequest[], alone?: boolean): AsyncGenerator<EngineAnswer>
  /** How many calls of `run` are best made at once: 1 where absent. */
  readonly lanes?: number
  /** Told that more is waiting than it runs at once, so that it may open lanes. */
  widen?(): void
  /** Writes a text, beside other generations that are under way; ends with an `end` event, soon after `signal` fires. */
  generate?(request: GenerationRequest, signal: AbortSignal): AsyncIterable<GenerationEvent>
  /** Gives memory back; a process of its own need not be told. */
  close?(): Promise<void>
}

interface RunnerOptions {
  /** As many as suit the bundle where absent. */
  threads?: number
  /** Most tokens in one batch, padding included. */
  tokenBudget: number
  /** The folder of the library that runs it, where that is not part of the installation. */
  library?: string
  /** Where the bundle's files lie, if they do on the disk: weights are mapped from there. */
  paths?: Readonly<Record<string, string>>
  /** Told of each full window of requests, where the version has a reference to compare it with. */
  onWindow?: (window: Window) => void
  /** Told of each step of work that is long in all and tells nothing else. */
  onStep?: () => void
}

/** Opens a bundle of one task; `read` gives its files. Throws MODEL_INVALID or BUNDLE_INVALID. */
export type OpenRunner = (
  manifest: Manifest,
  read: (file: string) => Uint8Array,
  options: RunnerOptions,
) => Promise<Runner>

/** Opens a bundle that a library of its own reads from the disk. */
export type OpenFileRunner = (manifest: Manifest, path: string, options: RunnerOptions) => Promise<Runner>

/** How a bundle of each task is run; an engine loads what its own task needs. */
const runners: Record<Exclude<Manifest['task'], HubTaskName>, () => Promise<OpenRunner>> = {
  'text-classification': async () => (await import('./runners/text-classification.ts')).textClassificationRunner,
  'token-classification': async () => (await import('./runners/token-classification.ts')).tokenClassificationRunner,
  'feature-extraction': async () => (await import('./runners/feature-extraction.ts')).featureExtractionRunner,
  'fill-mask': async () => (await import('./runners/fill-mask.ts')).fillMaskRunner,
  'text-generation': async () => (await import('./runners/text-generation.ts')).textGenerationRunner,
  'image-classification': async () => (await import('./runners/image-classification.ts')).imageClassificationRunner,
  tensor: async () => (await import('./runners/tensor.ts')).tensorRunner,
}

export const createRunner: OpenRunner = async (manifest, read, options) =>
  (await runners[ownTask(manifest.task)]())(manifest, read, options)
