import type { ReadOptions } from '../data/dataset.ts'
import type { TrainEvent } from '../train/events.ts'
import type { DataSource } from '../train/job.ts'
import type { Option, Options } from '../train/options.ts'
import type { Example } from './examples/example.ts'
import type { Subject } from './subject.ts'

/** What passes work with beside the bundle. */
export interface PassContext {
  /** Rows of the training data to calibrate with and to choose by; never those that the result is judged by. */
  readonly heldIn: readonly Example[]
  readonly threads: number
  /** A folder for what a pass puts on disk. */
  readonly folder: string
  readonly stop: AbortSignal
  /** What passes that train have beside it. */
  readonly training: Training
}

export interface Training {
  readonly run: string
  /** The data the version was trained on, or what was given instead; absent when it is not here. */
  readonly data?: DataSource
  /** Rows to measure with that were given. */
  readonly heldOut?: DataSource
  /** Rows to choose weights by, in the place of a part of the data. */
  readonly validation?: DataSource
  readonly read: ReadOptions
  readonly seed: number
  /** Hyperparameters that were asked for. */
  readonly options: Options
  /** Texts that the result is judged by. */
  readonly exclude: readonly string[]
}

/** A step of refinement: a function from bundle to bundle, which tells in words what it did. */
export interface Pass {
  readonly description: string
  readonly options: Readonly<Record<string, Option>>
  /** Whether weights must still be float32 under their own names, so that it cannot follow quantization. */
  readonly wantsFloats: boolean
  apply(subject: Subject, options: Options, context: PassContext): AsyncGenerator<TrainEvent, PassResult>
}

export interface PassResult {
  readonly subject: Subject
  /** What it did, in one sentence. */
  readonly note: string
}

/** A pass that only computes. */
export const plain = (
  apply: (subject: Subject, options: Options, context: PassContext) => Promise<PassResult> | PassResult,
): Pass['apply'] =>
  // biome-ignore lint/correctness/useYield: a pass that has nothing to tell on its way
  async function* (subject, options, context) {
    return apply(subject, options, context)
  }
