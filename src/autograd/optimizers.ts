import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** An update rule: the names of the tensors it keeps beside a parameter, and how all of them change in a step. */
interface UpdateRule {
  moments: readonly string[]
  update(
    parameter: Value,
    gradient: Value,
    moments: readonly Value[],
    decay: number,
  ): { parameter: Value; moments: Value[] }
}

const BETA1 = 0.9
const BETA2 = 0.999
const EPSILON = 1e-8
const MOMENTUM = 0.9

/**
 * AdamW (Loshchilov & Hutter 2019) with the usual constants. The moments are kept divided by (1 - β), which spares two
 * passes over every parameter; bias corrections are scalars, computed in float64 as PyTorch does.
 */
function adamw(learningRate: Value, step: Value): UpdateRule {
  const t = o.cast(step, 'float64')
  const correction = (beta: number) => o.sub(1, o.pow(o.scalarLike(t, beta), t))
  const root = o.sqrt(correction(BETA2))
  // lr · (1-β1) m / (1-β1^t) / (sqrt((1-β2) v) / sqrt(1-β2^t) + ε), with the factors gathered before m and ε
  const ratio = o.div(o.mul(root, (1 - BETA1) / Math.sqrt(1 - BETA2)), correction(BETA1))
  const rate = o.mul(learningRate, o.cast(ratio, 'float32'))
  const epsilon = o.cast(o.mul(root, EPSILON / Math.sqrt(1 - BETA2)), 'float32')
  return {
    moments: ['m', 'v'],
    update(parameter, gradient, [m, v], decay) {
      const m2 = o.add(o.mul(m, BETA1), gradient)
      const v2 = o.add(o.mul(v, BETA2), o.mul(gradient, gradient))
      const change = o.mul(o.div(m2, o.add(o.sqrt(v2), epsilon)), rate)
      return { parameter: o.sub(decayed(parameter, learningRate, decay), change), moments: [m2, v2] }
    },
  }
}

/** Stochastic gradient descent with momentum (Polyak 1964), as PyTorch writes it, and decoupled weight decay. */
function sgd(learningRate: Value): UpdateRule {
  return {
    moments: ['momentum'],
    update(parameter, gradient, [momentum], decay) {
      const next = o.add(o.mul(momentum, MOMENTUM), gradient)
      return { parameter: o.sub(decayed(parameter, learningRate, decay), o.mul(next, learningRate)), moments: [next] }
    },
  }
}

const decayed = (parameter: Value, learningRate: Value, decay: number) =>
  decay > 0 ? o.mul(parameter, o.sub(1, o.mul(learningRate, decay))) : parameter

export const optimizers = { adamw, sgd } as const
export type Optimizer = keyof typeof optimizers
