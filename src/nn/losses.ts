import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** Softmax cross-entropy over a batch and how many rows are right: logits (batch, classes), labels int64 (batch). */
export function classifierLoss(logits: Value, labels: Value): { loss: Value; correct: Value } {
  return o.within(logits.graph, () => {
    const picked = o.gatherElements(o.logSoftmax(logits), o.unsqueeze(labels, [1]), 1) // (batch, 1)
    const right = o.equal(o.argMax(logits, 1), labels)
    return { loss: o.neg(o.reduceMean(picked)), correct: o.reduceSum(o.cast(right, 'int64')) }
  })
}

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
export const lossNames = Object.keys(losses) as [LossName, ...LossName[]]
