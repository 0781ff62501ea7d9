import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** Scales of what is all zeros stay above this. */
const LEAST = 1e-12

/**
 * What a forward pass makes of a value, with the gradient of the value itself: the straight-through estimator (Bengio et
 * al. 2013), by which a network learns to live with numbers that are rounded.
 */
const straightThrough = (x: Value, round: () => Value): Value =>
  x.graph.region([x], () => ({ outputs: [round()], gradient: ([dy]) => [dy] }))[0]

const rounded = (x: Value): Value => x.graph.node('Round', [x])[0]

/** How groups of a weight's numbers become integers: from `low` to `high`, times the group's scale. */
interface Steps {
  /** The axes of one group, which are kept with size 1. */
  readonly axes: readonly number[]
  readonly low: number
  readonly high: number
  scaleOf(w: Value): Value
}

/** Signed integers of magnitudes up to `limit`, one scale for all numbers along `axes`. */
const channels = (axes: readonly number[], limit: number): Steps => ({
  axes,
  low: -limit,
  high: limit,
  scaleOf: (w) => o.max(o.div(o.reduceMax(o.abs(w), axes, true), limit), LEAST),
})

/** Integers of `bits` for rows of one block each, whose extreme becomes the integer furthest below zero. */
const blocks = (bits: 4 | 8): Steps => {
  const half = 2 ** (bits - 1)
  return {
    axes: [1],
    low: -half,
    high: half - 1,
    scaleOf(w) {
      const [high, low] = [o.reduceMax(w, [1], true), o.reduceMin(w, [1], true)]
      const extreme = o.where(o.greaterOrEqual(high, o.neg(low)), high, low)
      return o.div(o.where(o.equal(extreme, 0), o.scalarLike(extreme, 1), extreme), -half)
    },
  }
}

const inSteps = (w: Value, { low, high, scaleOf }: Steps): Value => {
  const scale = scaleOf(w)
  return o.mul(o.clip(rounded(o.div(w, scale)), low, high), scale)
}

/** How much faster than weights the reach of a group learns. */
const FASTER = 20

/** The part of a group's largest magnitude that stays, 1 to begin with, from what is learnt of it. */
export const reachOf = (learnt: number): number => Math.max(LEAST_REACH, Math.min(1, 1 + FASTER * learnt))
const LEAST_REACH = 0.1

/**
 * The same of a weight that is clipped first, to a part of each group's largest magnitude that is learnt: what `learnt`
 * (one number a group) tells, see `reachOf`. The gradient of the step is that of learned step size quantization (Esser et
 * al. 2020), 1/√(numbers · levels) of it; clipped numbers have none.
 */
const inLearntSteps = (w: Value, learnt: Value, { axes, low, high, scaleOf }: Steps): Value =>
  w.graph.region([w, learnt], () => {
    const reach = o.clip(o.add(o.mul(learnt, FASTER), 1), LEAST_REACH, 1)
    const bound = o.mul(o.reduceMax(o.abs(w), axes, true), reach)
    const clipped = o.min(o.max(w, o.neg(bound)), bound)
    const scale = scaleOf(clipped)
    const integers = o.clip(rounded(o.div(clipped, scale)), low, high)
    return {
      outputs: [o.mul(integers, scale)],
      gradient: ([given]) => {
        const dy = given!
        const inside = o.cast(o.lessOrEqual(o.abs(w), bound), w.dtype)
        const group = axes.reduce((product, axis) => product * Number(w.shape[axis]), 1)
        const each = o.mul(dy, o.sub(integers, o.mul(o.div(w, scale), inside)))
        const step = o.div(o.reduceSum(each, axes, true), Math.sqrt(group * high))
        return [o.mul(dy, inside), o.mul(step, o.div(o.mul(scale, FASTER), reach))]
      },
    }
  })[0]

/** A weight rounded to signed integers of magnitudes up to `limit`, one scale for all numbers along `axes`. */
export const fakeChannels = (w: Value, axes: readonly number[], limit: number, learnt?: Value): Value =>
  learnt ? inLearntSteps(w, learnt, channels(axes, limit)) : straightThrough(w, () => inSteps(w, channels(axes, limit)))

/**
 * A weight (outputs, inputs) rounded to integers of 4 or 8 bits in blocks along the inputs, whose number must be a multiple
 * of the block; the block's extreme becomes the integer furthest below zero, as `quantizeBlocks` has it.
 */
export const fakeBlocks = (w: Value, block: number, bits: 4 | 8, learnt?: Value): Value => {
  if (!learnt)
    return straightThrough(w, () => o.reshape(inSteps(o.reshape(w, [-1, block]), blocks(bits)), o.shapeValue(w)))
  return o.reshape(inLearntSteps(o.reshape(w, [-1, block]), learnt, blocks(bits)), o.shapeValue(w))
}

/** Activations rounded to 256 steps between the least and the largest of the tensor, zero among them. */
export const fakeActivations = (x: Value): Value =>
  straightThrough(x, () => {
    const [low, high] = [o.min(o.reduceMin(x), 0), o.max(o.reduceMax(x), 0)]
    const scale = o.max(o.div(o.sub(high, low), 255), LEAST)
    const zero = rounded(o.neg(o.div(low, scale)))
    const integers = o.clip(o.add(rounded(o.div(x, scale)), zero), 0, 255)
    return o.mul(o.sub(integers, zero), scale)
  })
