import type { Problem } from '../base/problem.ts'
import type { GraphBuilder, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'

/** How a loss is made milder or just. */
interface LossOptions {
  /** Share of the target spread evenly over all classes (Szegedy et al. 2016). */
  smoothing?: number
  /** Float32 (batch): what each row counts; all the same if absent. */
  weights?: Value
}

/** What stands on a network's last numbers: how they are compared with the truth, and what is served. */
export interface Head {
  /** Numbers a row that the network must give. */
  width(labels: number): number
  /** The input with the truth: labels int64 (batch), or float32 (batch, width). */
  target(graph: GraphBuilder, width: number): Value
  /** Mean over the batch, and how many rows are right. */
  loss(logits: Value, target: Value, options?: LossOptions): { loss: Value; correct: Value }
  /** What is served, from logits (batch, width). */
  serve(logits: Value, scale?: { mean: number; deviation: number }): Value
}

/** The mean of a number a row, by weights where there are some. */
function meanOf(rows: Value, weights: Value | undefined): Value {
  return weights ? o.div(o.reduceSum(o.mul(rows, weights)), o.reduceSum(weights)) : o.reduceMean(rows)
}

const matrix = (graph: GraphBuilder, width: number) => graph.input('labels', 'float32', ['batch', width])

/** Heads by problem. */
export const heads: Record<Problem, Head> = {
  /** Softmax and cross-entropy. */
  classification: {
    width: (labels) => labels,
    target: (graph) => graph.input('labels', 'int64', ['batch']),
    loss: (logits, labels, { smoothing = 0, weights } = {}) =>
      o.within(logits.graph, () => {
        const logs = o.logSoftmax(logits)
        const picked = o.gatherElements(logs, o.unsqueeze(labels, [1]), 1) // (batch, 1)
        const right = o.equal(o.argMax(logits, 1), labels)
        const correct = o.reduceSum(o.cast(right, 'int64'))
        if (smoothing === 0 && !weights) return { loss: o.neg(o.reduceMean(picked)), correct }
        const truth = o.squeeze(picked, [1])
        const rows =
          smoothing === 0 ? truth : o.add(o.mul(truth, 1 - smoothing), o.mul(o.reduceMean(logs, [1]), smoothing))
        return { loss: o.neg(meanOf(rows, weights)), correct }
      }),
    serve: (logits) => o.softmax(logits),
  },
  /** A sigmoid each and binary cross-entropy, as a softmax of the logit and 0: it neither overflows nor has a kink. */
  'multi-label': {
    width: (labels) => labels,
    target: matrix,
    loss: (logits, labels, { smoothing = 0, weights } = {}) =>
      o.within(logits.graph, () => {
        const wanted = smoothing === 0 ? labels : o.add(o.mul(labels, 1 - smoothing), smoothing / 2)
        const pairs = o.concat([o.unsqueeze(logits, [2]), o.unsqueeze(o.zerosLike(logits), [2])], 2)
        const [is, isNot] = o.split(o.logSoftmax(pairs), [1, 1], 2).map((part) => o.squeeze(part, [2]))
        const each = o.neg(o.add(o.mul(is, wanted), o.mul(isNot, o.sub(1, wanted)))) // (batch, labels)
        const right = o.equal(o.greater(logits, 0), o.greater(labels, 0.5))
        const all = o.reduceMin(o.cast(right, 'int64'), [1])
        return { loss: meanOf(o.reduceMean(each, [1]), weights), correct: o.reduceSum(all) }
      }),
    serve: (logits) => o.sigmoid(logits),
  },
  /** One number, learnt as its distance from the mean in deviations; mean squared error. */
  regression: {
    width: () => 1,
    target: matrix,
    loss: (logits, values, { weights } = {}) =>
      o.within(logits.graph, () => {
        const off = o.sub(logits, values)
        const near = o.reduceSum(o.cast(o.less(o.abs(off), 0.5), 'int64'))
        return { loss: meanOf(o.reduceMean(o.mul(off, off), [1]), weights), correct: near }
      }),
    serve: (logits, { mean, deviation } = { mean: 0, deviation: 1 }) =>
      o.add(o.mul(logits, o.constant(logits, float32([1], [deviation]))), o.constant(logits, float32([1], [mean]))),
  },
}
