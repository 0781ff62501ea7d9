import type { Network } from '../../autograd/training.ts'
import { fail } from '../../base/errors.ts'
import type ort from '../../base/onnxruntime.ts'
import type { Value } from '../../graph/builder.ts'
import type { Weights } from '../../train/checkpoint.ts'
import type { TrainEvent } from '../../train/events.ts'
import type { Teacher } from '../../train/lessons.ts'
import type { Options } from '../../train/options.ts'
import type { Example } from '../examples/example.ts'
import type { PassContext } from '../pass.ts'
import type { Subject } from '../subject.ts'

/** A network by its sizes, as its options name them, and its weights by their paths. */
export interface Sized {
  readonly sizes: Options
  readonly weights: Weights
}

/** How a version teaches what is left of it. */
type Teaching = Pick<Teacher, 'temperature' | 'share'>

/** A version as a network that units and layers can be taken out of. */
export interface Prunable {
  /** The family or layout, which tells its units. */
  readonly layout: string
  readonly whole: Sized
  /** The version with other sizes and weights. */
  rebuilt(network: Sized): Subject
  /** What taking something out is judged by, of inputs as in `batches`. */
  loss(network: Network, sizes: Options): { loss: Value; correct: Value }
  /** Batches of rows for that loss; for units it may be another than for layers, which are really taken out to judge them. */
  batches(rows: readonly Example[], of: 'units' | 'layers', threads: number): Promise<Record<string, ort.Tensor>[]>
  /** Trains what is left, with the version itself as teacher where it can be one. */
  learn(network: Sized, context: PassContext, teaching: Teaching): AsyncGenerator<TrainEvent, Subject>
}

/** Epochs of training afterwards where none are asked for, and how the learning rate compares to the first training's. */
export const [EPOCHS, SLOWER] = [3, 0.5]

export const unprunable = (family: string) =>
  fail('UNSUPPORTED', {
    what: `structured pruning of a version of the family ${family}`,
    instead:
      'Classifiers of one family and of images, encoders and decoders that were trained or imported here, and not yet quantized, can be pruned. A mean of several networks can be quantized, or taught to one (--distil).',
  })

export const countOf = (weights: Weights, names: Iterable<string>) =>
  [...names].reduce((sum, name) => sum + (weights[name]?.data.length ?? 0), 0)
