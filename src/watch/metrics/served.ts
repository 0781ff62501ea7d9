import type { ErrorCode } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { GenerationEvent, Timings } from '../../engine/messages.ts'

type End = Extract<GenerationEvent, { type: 'end' }>

/** What became of a text that was written; times in milliseconds from when the door received the request. */
export interface Written extends Pick<End, 'finish' | 'usage'> {
  /** Until the first token, or the end of a text without any. */
  first: number
  /** Between a token and the one before it. */
  gaps: readonly number[]
}

/** One inference request, as the door that took it saw it end: the one observation from which all else is derived. */
export interface Served {
  requestId: string
  door: string
  /** Absent where no such model is known: callers must not be able to make up names. */
  model?: string
  version?: number
  task?: Manifest['task']
  /** Texts, images or tensors asked about. */
  rows: number
  /** Milliseconds from receiving the request to its answer, and the wall clock (milliseconds) at its end. */
  ms: number
  at: number
  /** Of a request that one batch answered. */
  timings?: Timings
  written?: Written
  /** Why it failed. */
  code?: ErrorCode
  /** What was asked and answered, for logs that keep contents. */
  content?: () => { input?: string; output?: string }
}
