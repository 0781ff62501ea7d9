import {
  add,
  compile,
  div,
  type Expression,
  type Kernel,
  mul,
  scalar,
  sqrt,
  sub,
  type Vectors,
  vector,
} from '../base/simd.ts'

/** An update rule: the vectors it keeps beside the parameters, and how all of them change in a step. */
interface UpdateRule {
  readonly moments: readonly string[]
  /** Of an element: `parameter` after weight decay, `gradient` after clipping → what replaces parameter and moments. */
  readonly update: (parameter: Expression, gradient: Expression) => Record<string, Expression>
  /** The scalars that `update` uses; `step` counts from 1. */
  scalars(learningRate: number, step: number): Record<string, number>
}

const BETA1 = 0.9
const BETA2 = 0.999
const EPSILON = 1e-8
const MOMENTUM = 0.9

/**
 * AdamW (Loshchilov & Hutter 2019) with the usual constants. The moments are kept divided by (1 - β), which spares two
 * products for every parameter.
 */
const adamw: UpdateRule = {
  moments: ['m', 'v'],
  update(parameter, gradient) {
    const m = add(mul(vector('m'), scalar('beta1')), gradient)
    const v = add(mul(vector('v'), scalar('beta2')), mul(gradient, gradient))
    const change = mul(div(m, add(sqrt(v), scalar('epsilon'))), scalar('rate'))
    return { parameter: sub(parameter, change), m, v }
  },
  // lr · (1-β1) m / (1-β1^t) / (sqrt((1-β2) v) / sqrt(1-β2^t) + ε), with the factors gathered before m and ε
  scalars(learningRate, step) {
    const root = Math.sqrt((1 - BETA2 ** step) / (1 - BETA2))
    const rate = (learningRate * root * (1 - BETA1)) / (1 - BETA1 ** step)
    return { beta1: BETA1, beta2: BETA2, rate, epsilon: EPSILON * root }
  },
}

/** Stochastic gradient descent with momentum (Polyak 1964), as PyTorch writes it. */
const sgd: UpdateRule = {
  moments: ['momentum'],
  update(parameter, gradient) {
    const momentum = add(mul(vector('momentum'), scalar('momentum')), gradient)
    return { parameter: sub(parameter, mul(momentum, scalar('rate'))), momentum }
  },
  scalars: (learningRate) => ({ momentum: MOMENTUM, rate: learningRate }),
}

const rules = { adamw, sgd } as const satisfies Record<string, UpdateRule>
export type Optimizer = keyof typeof rules

export const gradientVector = (part: number) => `gradient:${part}`

/** The name of the moving average of the parameters. */
export const AVERAGE = 'average'

/** The vectors that an optimizer keeps from step to step, and the moving average of the parameters where it is wanted. */
export const keptBy = (optimizer: Optimizer, averaged: boolean): readonly string[] => [
  ...rules[optimizer].moments,
  ...(averaged ? [AVERAGE] : []),
]

/** All vectors of an optimizer when gradients come in parts that are to be added up. */
export const vectorsOf = (optimizer: Optimizer, parts: number, averaged: boolean): readonly string[] => [
  'parameter',
  ...keptBy(optimizer, averaged),
  ...Array.from({ length: parts }, (_, i) => gradientVector(i)),
]

/** An optimizer step over any stretch of the vectors, each read and written once. */
export interface OptimizerStep {
  /** Squared norm of the sum of the gradients' parts. */
  readonly norm: Kernel
  /** Updates parameters and moments; returns that norm as well. Scalars are those of `scalars`. */
  readonly update: Kernel
  /**
   * `scale` is of the gradient, `decay` the decoupled weight decay (Loshchilov & Hutter 2019), `average` what stays of the
   * parameters' moving average (Polyak & Juditsky 1992); less in the first steps, or it would be that of initial weights.
   */
  scalars(at: {
    learningRate: number
    step: number
    scale: number
    decay: number
    average: number
  }): Record<string, number>
}

/** The average after a step, where one is kept. */
const averaged = (parameter: Expression): Record<string, Expression> => ({
  [AVERAGE]: add(mul(vector(AVERAGE), scalar('stays')), mul(parameter, scalar('joins'))),
})

export function optimizerStep(optimizer: Optimizer, vectors: Vectors, parts: number): OptimizerStep {
  const rule = rules[optimizer]
  const gradient = Array.from({ length: parts }, (_, i) => vector(gradientVector(i))).reduce((a, b) => add(a, b))
  const square = mul(gradient, gradient)
  const next = rule.update(mul(vector('parameter'), scalar('keep')), mul(gradient, scalar('scale')))
  const average = vectors.names.includes(AVERAGE)
  return {
    norm: compile(vectors, { scalars: [], sum: square }),
    update: compile(vectors, {
      scalars: ['keep', 'scale', ...(average ? ['stays', 'joins'] : []), ...Object.keys(rule.scalars(0, 1))],
      replace: { ...next, ...(average && averaged(next.parameter)) },
      sum: square,
    }),
    scalars({ learningRate, step, scale, decay, average: most }) {
      const stays = Math.min(most, (1 + step) / (10 + step))
      return {
        keep: 1 - learningRate * decay,
        scale,
        ...(average && { stays, joins: 1 - stays }),
        ...rule.scalars(learningRate, step),
      }
    },
  }
}
