import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { classifierLoss } from './families.ts'

/** A loss over a batch: the network's output and what it should have been → a scalar, and how many rows are right. */
interface Loss {
  readonly description: string
  /** Whether targets are classes, int64 (batch), or numbers of the output's shape. */
  readonly target: 'class' | 'numbers'
  build(output: Value, target: Value): { loss: Value; correct: Value }
}

const overNumbers =
  (of: (output: Value, target: Value) => Value): Loss['build'] =>
  (output, target) =>
    o.within(output.graph, () => ({
      loss: o.reduceMean(of(output, target)),
      correct: o.constant(output, { dtype: 'int64', dims: [], data: BigInt64Array.of(0n) }),
    }))

/** Losses by name, for graphs that say nothing of how they were trained. */
export const losses = {
  'cross-entropy': {
    description: 'one class a row, of softmax over the output',
    target: 'class',
    build: classifierLoss,
  },
  mse: {
    description: 'mean of squared differences',
    target: 'numbers',
    build: overNumbers((output, target) => {
      const difference = o.sub(output, target)
      return o.mul(difference, difference)
    }),
  },
  mae: {
    description: 'mean of absolute differences',
    target: 'numbers',
    build: overNumbers((output, target) => o.abs(o.sub(output, target))),
  },
  // log(1 + e^-|x|) + max(x, 0) - x·t: never the logarithm of zero
  'binary-cross-entropy': {
    description: 'yes or no for each number, of the sigmoid of the output',
    target: 'numbers',
    build: overNumbers((output, target) => {
      const tail = o.log(o.add(o.exp(o.neg(o.abs(output))), 1))
      return o.sub(o.add(o.relu(output), tail), o.mul(output, target))
    }),
  },
} as const satisfies Record<string, Loss>

export type LossName = keyof typeof losses
