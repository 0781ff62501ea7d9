import { batchNormalisationGradient } from '../autograd/normalisation.ts'
import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

const EPSILON = 1e-5
/** What a step's own statistics weigh in the running ones, as PyTorch counts it. */
const MOMENTUM = 0.1

/**
 * Batch normalisation (Ioffe & Szegedy 2015) of x (batch, channels, …): in training by the batch's own mean and variance,
 * of which running ones are kept, in inference by those. Names and arithmetic are PyTorch's; the running variance is the
 * unbiased one.
 */
export function batchNormalisation(network: Network, x: Value): Value {
  const channels = Number(x.shape[1])
  const scale = network.parameter('weight', [channels], { kind: 'ones' })
  const bias = network.parameter('bias', [channels], { kind: 'zeros' })
  let own: { mean: Value; variance: Value } | undefined
  const running = (name: string, kind: 'zeros' | 'ones', statistic: () => Value) => {
    const value = network.parameter(name, [channels], { kind }, { trainable: false, next: () => next() })
    const next = () => o.add(o.mul(value, 1 - MOMENTUM), o.mul(statistic(), MOMENTUM))
    return value
  }
  const mean = running('running_mean', 'zeros', () => own!.mean)
  const variance = running('running_var', 'ones', () => unbiased(own!.variance, x))
  return o.within(network.graph, () => {
    const { graph } = network
    if (!network.training) return graph.node('BatchNormalization', [x, scale, bias, mean, variance], epsilon)[0]
    const [y] = graph.region([x, scale, bias], () => {
      // With momentum 0 the operator's running statistics are the batch's own. It writes them over those it is given,
      // stored tensors and all: so it is given values that are no one else's.
      const [over, overVariance] = [o.neg(mean), o.neg(variance)]
      const attributes = { training_mode: 1, momentum: { float: 0 }, ...epsilon }
      const names = ['Normalised', 'Mean', 'Variance']
      const [y, ownMean, ownVariance] = graph.node(
        'BatchNormalization',
        [x, scale, bias, over, overVariance],
        attributes,
        names,
      )
      own = { mean: ownMean, variance: ownVariance }
      return {
        outputs: [y],
        gradient: ([dy]) => {
          const inverse = o.reciprocal(o.sqrt(o.add(ownVariance, EPSILON)))
          return [...batchNormalisationGradient(x, scale, dy!, ownMean, inverse)]
        },
      }
    })
    return y
  })
}

const epsilon = { epsilon: { float: EPSILON } }

/** A variance over n elements a channel as the estimate that divides by n - 1. */
function unbiased(variance: Value, x: Value): Value {
  const axes = [...x.shape.keys()].filter((axis) => axis !== 1)
  const count = axes.map((axis) => o.dimension(x, axis))
  const n = o.cast(
    count.reduce((a, b) => o.mul(a, b)),
    variance.dtype,
  )
  return o.div(o.mul(variance, n), o.max(o.sub(n, 1), 1))
}
