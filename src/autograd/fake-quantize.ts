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

/** A weight rounded to signed integers of magnitudes up to `limit`, one scale for all numbers along `axes`. */
export const fakeChannels = (w: Value, axes: readonly number[], limit: number): Value =>
  straightThrough(w, () => {
    const scale = o.max(o.div(o.reduceMax(o.abs(w), axes, true), limit), LEAST)
    return o.mul(rounded(o.div(w, scale)), scale)
  })

/**
 * A weight (outputs, inputs) rounded to integers of 4 or 8 bits in blocks along the inputs, whose number must be a multiple
 * of the block; the block's extreme becomes the integer furthest below zero, as `quantizeBlocks` has it.
 */
export const fakeBlocks = (w: Value, block: number, bits: 4 | 8): Value =>
  straightThrough(w, () => {
    const half = 2 ** (bits - 1)
    const blocks = o.reshape(w, [-1, block])
    const [high, low] = [o.reduceMax(blocks, [1], true), o.reduceMin(blocks, [1], true)]
    const extreme = o.where(o.greaterOrEqual(high, o.neg(low)), high, low)
    const scale = o.div(o.where(o.equal(extreme, 0), o.scalarLike(extreme, 1), extreme), -half)
    const integers = o.clip(rounded(o.div(blocks, scale)), -half, half - 1)
    return o.reshape(o.mul(integers, scale), o.shapeValue(w))
  })

/** Activations rounded to 256 steps between the least and the largest of the tensor, zero among them. */
export const fakeActivations = (x: Value): Value =>
  straightThrough(x, () => {
    const [low, high] = [o.min(o.reduceMin(x), 0), o.max(o.reduceMax(x), 0)]
    const scale = o.max(o.div(o.sub(high, low), 255), LEAST)
    const zero = rounded(o.neg(o.div(low, scale)))
    const integers = o.clip(o.add(rounded(o.div(x, scale)), zero), 0, 255)
    return o.mul(o.sub(integers, zero), scale)
  })
