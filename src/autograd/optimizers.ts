import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'

/** An update rule: the names of the vectors it keeps beside the parameters, and how all of them change in a step. */
interface UpdateRule {
  readonly moments: readonly string[]
  update(at: Step): { parameter: Value; moments: Value[] }
}

/** Parameters, their gradient and moments, each a vector of the same length; the rest are scalars. */
interface Step {
  parameter: Value
  gradient: Value
  moments: readonly Value[]
  learningRate: Value
  /** Counted from 1, int64. */
  step: Value
}

const BETA1 = 0.9
const BETA2 = 0.999
const EPSILON = 1e-8
const MOMENTUM = 0.9

/**
 * AdamW (Loshchilov & Hutter 2019) with the usual constants. The moments are kept divided by (1 - β), which spares two
 * passes over every parameter; bias corrections are scalars, computed in float64 as PyTorch does.
 */
const adamw: UpdateRule = {
  moments: ['m', 'v'],
  update({ parameter, gradient, moments: [m, v], learningRate, step }) {
    const t = o.cast(step, 'float64')
    const correction = (beta: number) => o.sub(1, o.pow(o.scalarLike(t, beta), t))
    const root = o.sqrt(correction(BETA2))
    // lr · (1-β1) m / (1-β1^t) / (sqrt((1-β2) v) / sqrt(1-β2^t) + ε), with the factors gathered before m and ε
    const ratio = o.div(o.mul(root, (1 - BETA1) / Math.sqrt(1 - BETA2)), correction(BETA1))
    const rate = o.mul(learningRate, o.cast(ratio, 'float32'))
    const epsilon = o.cast(o.mul(root, EPSILON / Math.sqrt(1 - BETA2)), 'float32')
    const m2 = o.add(o.mul(m, BETA1), gradient)
    const v2 = o.add(o.mul(v, BETA2), o.mul(gradient, gradient))
    const change = o.mul(o.div(m2, o.add(o.sqrt(v2), epsilon)), rate)
    return { parameter: o.sub(parameter, change), moments: [m2, v2] }
  },
}

/** Stochastic gradient descent with momentum (Polyak 1964), as PyTorch writes it. */
const sgd: UpdateRule = {
  moments: ['momentum'],
  update({ parameter, gradient, moments: [momentum], learningRate }) {
    const next = o.add(o.mul(momentum, MOMENTUM), gradient)
    const change = o.mul(next, learningRate)
    return { parameter: o.sub(parameter, change), moments: [next] }
  },
}

export const optimizers = { adamw, sgd } as const
export type Optimizer = keyof typeof optimizers

/** A model over flat vectors, and the names of its outputs in the order of what they replace. */
export interface FlatGraph {
  readonly model: ModelProto
  readonly outputs: readonly string[]
}

/**
 * An optimizer step over any stretch of the flat vector of all parameters. Inputs: `parameter`, `gradient` and the
 * rule's moments, float32 (n); scalars `learningRate`, `step` and, where used, `scale` of the gradient and `decay`. With
 * `average`, the moving average of the parameters (Polyak & Juditsky 1992) is one more vector, of which `keep` stays. Each
 * output may be written over the input that it replaces: no operator reads that input after the one that writes it.
 */
export function updateGraph(
  optimizer: Optimizer,
  uses: { clip: boolean; decay: boolean; average?: boolean },
): FlatGraph {
  const rule: UpdateRule = optimizers[optimizer]
  const graph = new GraphBuilder()
  const vector = (name: string) => graph.input(name, 'float32', ['n'])
  const scalar = (name: string) => graph.input(name, 'float32', [])
  const outputs = o.within(graph, () => {
    const learningRate = scalar('learningRate')
    const parameter = vector('parameter')
    const next = rule.update({
      // decoupled weight decay (Loshchilov & Hutter 2019)
      parameter: uses.decay ? o.mul(parameter, o.sub(1, o.mul(learningRate, scalar('decay')))) : parameter,
      gradient: uses.clip ? o.mul(vector('gradient'), scalar('scale')) : vector('gradient'),
      moments: rule.moments.map(vector),
      learningRate,
      step: graph.input('step', 'int64', []),
    })
    if (!uses.average) return [next.parameter, ...next.moments]
    const average = vector('average')
    const moved = o.add(average, o.mul(o.sub(next.parameter, average), o.sub(1, scalar('keep'))))
    return [next.parameter, ...next.moments, moved]
  })
  for (const value of outputs) graph.output(value)
  return { model: graph.build('update'), outputs: outputs.map(({ name }) => name) }
}

/**
 * The sum of the vectors `gradient:0`, `gradient:1`, … (n), which may be written over the first and is left out when
 * there is but one, and its squared norm.
 */
export function totalGraph(parts: number): FlatGraph {
  const graph = new GraphBuilder()
  const outputs = o.within(graph, () => {
    const all = Array.from({ length: parts }, (_, k) => graph.input(`gradient:${k}`, 'float32', ['n']))
    const total = all.reduce((a, b) => o.add(a, b))
    return [...(parts > 1 ? [total] : []), o.reduceSumSquare(total)]
  })
  for (const value of outputs) graph.output(value)
  return { model: graph.build('total'), outputs: outputs.map(({ name }) => name) }
}
