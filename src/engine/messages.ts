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

/** One request to an engine: texts to classify, or tensors for a plain graph. `at` is the monotonic time it came. */
export type EngineRequest = { id: number; at: number } & (
  | { kind: 'texts'; texts: string[] }
  | { kind: 'tensors'; inputs: Record<string, Tensor> }
)

/** Class probabilities (texts, classes) row by row, or output tensors by name. */
export type EngineOutput =
  | { kind: 'texts'; probabilities: Float32Array }
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
