import { floatOf, intOf } from '../graph/attributes.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { type Rule, rule } from './rule.ts'

/** The axes of x (batch, channels, …) over which its channels are summed. */
const allButChannels = (x: Value) => [...x.shape.keys()].filter((axis) => axis !== 1)

/** A vector (channels) in the shape in which it is broadcast to x: (channels, 1, …). */
const perChannel = (vector: Value, x: Value) =>
  x.shape.length === 2
    ? vector
    : o.unsqueeze(
        vector,
        [...x.shape.keys()].slice(2).map((axis) => axis - 1),
      )

const inverseDeviation = (variance: Value, epsilon: number) => o.reciprocal(o.sqrt(o.add(variance, epsilon)))

/**
 * Gradients of y = (x - mean) · inverse · scale + bias where mean and inverse deviation (channels) are those of x itself
 * over batch and space (Ioffe & Szegedy 2015) → those of x, scale and bias.
 */
export function batchNormalisationGradient(x: Value, scale: Value, dy: Value, mean: Value, inverse: Value) {
  const axes = allButChannels(x)
  const centred = o.sub(x, perChannel(mean, x))
  const dBias = o.reduceSum(dy, axes)
  const along = o.reduceSum(o.mul(dy, centred), axes)
  const count = o.cast(
    axes.map((axis) => o.dimension(x, axis)).reduce((a, b) => o.mul(a, b)),
    x.dtype,
  ) // (1)
  const factor = o.mul(scale, inverse)
  const pull = o.div(o.mul(o.mul(factor, o.mul(inverse, inverse)), along), count)
  const shift = o.div(o.mul(factor, dBias), count)
  const dx = o.sub(o.sub(o.mul(dy, perChannel(factor, x)), o.mul(centred, perChannel(pull, x))), perChannel(shift, x))
  return [dx, o.mul(along, inverse), dBias] as const
}

export const normalisationRules: Record<string, Rule> = {
  BatchNormalization: rule(({ x: [x, scale, , mean, variance], dy, node: { proto } }) => {
    const epsilon = floatOf(proto, 'epsilon', 1e-5)
    const axes = allButChannels(x)
    if (intOf(proto, 'training_mode', 0) === 1) {
      const own = o.reduceMean(x, axes)
      const centred = o.sub(x, perChannel(own, x))
      const inverse = inverseDeviation(o.reduceMean(o.mul(centred, centred), axes), epsilon)
      return [...batchNormalisationGradient(x, scale, dy, own, inverse)]
    }
    const inverse = inverseDeviation(variance, epsilon)
    const factor = o.mul(scale, inverse)
    const dBias = o.reduceSum(dy, axes)
    const along = o.reduceSum(o.mul(dy, o.sub(x, perChannel(mean, x))), axes)
    return [
      o.mul(dy, perChannel(factor, x)),
      o.mul(along, inverse),
      dBias,
      o.neg(o.mul(factor, dBias)),
      o.mul(o.mul(o.mul(along, factor), o.mul(inverse, inverse)), -0.5),
    ]
  }),
  // each channel of each row by its own mean and deviation over space (Ulyanov et al. 2016)
  InstanceNormalization: rule(({ x: [x, scale], dy, node: { proto } }) => {
    const axes = [...x.shape.keys()].slice(2)
    const centred = o.sub(x, o.reduceMean(x, axes, true))
    const variance = o.reduceMean(o.mul(centred, centred), axes, true)
    const inverse = inverseDeviation(variance, floatOf(proto, 'epsilon', 1e-5))
    const normal = o.mul(centred, inverse)
    const g = o.mul(dy, perChannel(scale, x))
    const inner = o.sub(
      o.sub(g, o.reduceMean(g, axes, true)),
      o.mul(normal, o.reduceMean(o.mul(g, normal), axes, true)),
    )
    const all = allButChannels(x)
    return [o.mul(inverse, inner), o.reduceSum(o.mul(dy, normal), all), o.reduceSum(dy, all)]
  }),
}
