import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** Rows of a table picked by `ids` (any shape); adds a last axis of `width`. Entries start as N(0, deviation²). */
export function embedding(network: Network, ids: Value, vocabulary: number, width: number, deviation = 0.1): Value {
  const table = network.parameter('weight', [vocabulary, width], { kind: 'normal', deviation }, { decay: false })
  return o.within(network.graph, () => o.gather(table, ids)) // (…, width)
}

/** `x·W' + b`: (…, inputs) → (…, outputs), started as PyTorch's Linear. */
export function dense(network: Network, x: Value, outputs: number): Value {
  const { weight, bias } = denseParameters(network, x, outputs)
  return o.within(network.graph, () => affine(x, weight, bias))
}

/** Weight (outputs, inputs) and bias of a dense layer on x (…, inputs). */
export function denseParameters(network: Network, x: Value, outputs: number): { weight: Value; bias: Value } {
  const inputs = Number(x.shape.at(-1))
  const init = { kind: 'uniform', bound: 1 / Math.sqrt(inputs) } as const
  return {
    weight: network.parameter('weight', [outputs, inputs], init),
    bias: network.parameter('bias', [outputs], init),
  }
}

/** `x·W' + b` over the last axis in one large product: x (…, inputs), weight (outputs, inputs) → (…, outputs). */
export function affine(x: Value, weight: Value, bias?: Value): Value {
  const [outputs, inputs] = weight.shape.map(Number)
  const product = (rows: Value) => o.gemm(rows, weight, bias, { transB: true }) // (rows, outputs)
  if (x.shape.length === 2) return product(x)
  const outer = x.shape.slice(0, -1).map((_, axis) => o.dimension(x, axis))
  return o.reshape(product(o.reshape(x, [-1, inputs])), o.concat([...outer, o.ints(x, [outputs])], 0))
}

/**
 * `affine` cut into `parts` equal ones along the last axis. In training each is a product of its own: that copies weights
 * instead of what is made of all rows, and smaller results stay in the cache.
 */
export function affineParts(network: Network, x: Value, weight: Value, bias: Value, parts: number): Value[] {
  const sizes = Array<number>(parts).fill(Number(weight.shape[0]) / parts)
  return o.within(network.graph, () => {
    if (!network.training) return o.split(affine(x, weight, bias), sizes, -1)
    const [weights, biases] = [o.split(weight, sizes, 0), o.split(bias, sizes, 0)]
    return weights.map((part, i) => affine(x, part, biases[i]))
  })
}

/** Layer normalisation (Ba et al. 2016) over the last axis. */
export function normalise(network: Network, x: Value, epsilon = 1e-5): Value {
  const width = Number(x.shape.at(-1))
  const scale = network.parameter('scale', [width], { kind: 'ones' })
  const bias = network.parameter('bias', [width], { kind: 'zeros' })
  return o.within(network.graph, () => o.layerNormalization(x, scale, bias, { epsilon, statistics: network.training }))
}

/** Division by the root of the mean square over the last axis (Zhang & Sennrich 2019). */
export function rootMeanNormalise(network: Network, x: Value, epsilon: number): Value {
  const scale = network.parameter('scale', [Number(x.shape.at(-1))], { kind: 'ones' })
  return o.within(network.graph, () => {
    if (network.training) return o.simplifiedLayerNormalization(x, scale, epsilon)
    const square = o.reduceMean(o.mul(x, x), [-1], true)
    return o.mul(o.div(x, o.sqrt(o.add(square, epsilon))), scale)
  })
}

/** The size of an attention head: given where heads were taken out or never made up the width. */
export const headSizeOf = ({ width, heads, headSize }: { width: number; heads: number; headSize?: number }): number =>
  headSize ?? width / heads

export type Pooling = 'last' | 'mean' | 'max'

/** One vector a sequence from its valid steps alone: y (time, batch, width), lengths int64 (batch) → (batch, width). */
export function pool(network: Network, y: Value, lengths: Value, pooling: Pooling): Value {
  return o.within(network.graph, () => {
    if (pooling === 'last') {
      const batch = o.dimension(lengths, 0)
      const at = o.add(o.mul(o.sub(lengths, 1), batch), count(batch)) // position in (time · batch)
      return o.gather(o.reshape(y, [-1, Number(y.shape[2])]), at) // (batch, width)
    }
    const steps = o.unsqueeze(count(o.dimension(y, 0)), [1]) // (time, 1)
    const valid = o.unsqueeze(o.less(steps, o.unsqueeze(lengths, [0])), [2]) // (time, batch, 1)
    if (pooling === 'max') return o.reduceMax(o.where(valid, y, -1e30), [0])
    const total = o.reduceSum(o.where(valid, y, 0), [0]) // (batch, width)
    return o.div(total, o.unsqueeze(o.cast(lengths, y.dtype), [1]))
  })
}

/** Whether position t of text b is one of its tokens: ids (batch, time), lengths int64 (batch) → bool (batch, time). */
export const tokens = (ids: Value, lengths: Value): Value =>
  o.less(count(o.dimension(ids, 1)), o.unsqueeze(lengths, [1]))

/** The weights of a mean over the valid ones: bool (batch, n) → float32 (batch, n). */
export function shares(valid: Value): Value {
  const weight = o.cast(valid, 'float32')
  return o.div(weight, o.reduceSum(weight, [1], true))
}

/** The sum of n vectors a text by their weights: x (batch, n, width), weights (batch, n) → (batch, width). */
export const weighted = (x: Value, weights: Value): Value => o.squeeze(o.matMul(o.unsqueeze(weights, [1]), x), [1])

/** 0, 1, … up to a size, which is int64 of one element. */
export function count(size: Value): Value {
  const scalar = o.squeeze(size, [0])
  return o.range(o.scalarLike(scalar, 0), scalar, o.scalarLike(scalar, 1))
}
