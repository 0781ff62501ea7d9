import type { Manifest } from '../bundle/manifest.ts'
import type { Tensor } from '../graph/tensor.ts'

/** Where the time of one request went, in milliseconds, and how many rows shared its batch. */
export interface Timings {
  queue: number
  pre: number
  run: number
  post: number
  batch: number
}

/** One request to an engine: texts, or tensors for a plain graph. `at` is the monotonic time it came. */
export type EngineRequest = { id: number; at: number } & /** `topK`: how many words are wanted for each mask. */
({ kind: 'texts'; texts: string[]; topK?: number } | { kind: 'tensors'; inputs: Record<string, Tensor> })

/** A word at the place of a mask. */
export interface Fill {
  token: string
  score: number
}
/** A stretch of a text that was labelled, in UTF-16 units. */
export interface Entity {
  label: string
  score: number
  start: number
  end: number
  text: string
}

/**
 * For texts: class probabilities (texts, classes) row by row, vectors (texts, width), the words for each mask of each
 * text, or the labelled stretches of each; otherwise output tensors by name.
 */
export type EngineOutput =
  | { kind: 'texts'; probabilities: Float32Array }
  | { kind: 'vectors'; vectors: Float32Array; width: number }
  | { kind: 'fills'; fills: Fill[][][] }
  | { kind: 'entities'; entities: Entity[][] }
  | { kind: 'tensors'; outputs: Record<string, Tensor> }

export type EngineAnswer = { id: number } & (
  | { output: EngineOutput; timings: Timings }
  | { error: { code: string; details: Record<string, string | number> } }
)

export interface EngineStats {
  rss: number
  cpuSeconds: number
  waiting: number
  batches: number
}

/** What the control process sends; requests of one turn of its event loop travel together. */
export type ToEngine =
  | { type: 'load'; manifest: Manifest; files: Record<string, string>; threads: number; tokenBudget: number }
  | { type: 'requests'; requests: EngineRequest[] }
  | { type: 'stats'; id: number }

export type FromEngine =
  | { type: 'ready' }
  | { type: 'failed'; error: { code: string; details: Record<string, string | number> } }
  | { type: 'answers'; answers: EngineAnswer[] }
  | { type: 'stats'; id: number; stats: EngineStats }

/** Milliseconds of a clock that all processes of a machine share and that no one sets back. */
export const monotonic = () => Number(process.hrtime.bigint()) / 1e6
