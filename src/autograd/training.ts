import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import type { Shape } from '../graph/shape.ts'
import { gradients } from './gradients.ts'
import { type Optimizer, optimizers } from './optimizers.ts'

/** A trainable tensor: its path, shape, how it starts, and whether weight decay applies to it. */
export interface Parameter {
  readonly name: string
  readonly dims: readonly number[]
  readonly init: Init
  readonly decay: boolean
}
export type Init =
  | { kind: 'uniform'; bound: number }
  | { kind: 'normal'; deviation: number }
  | { kind: 'zeros' }
  | { kind: 'ones' }

/** A dropout mask that the loop fills with 0 and 1 / (1 - rate) for each step. */
interface Mask {
  readonly name: string
  readonly shape: Shape
  readonly rate: number
}

/**
 * Where a network gets its parameters and masks from: in training they are inputs of the graph, in inference parameters
 * are stored in it and dropout is left out.
 */
export interface Network {
  readonly graph: GraphBuilder
  readonly training: boolean
  scope(name: string): Network
  parameter(name: string, dims: readonly number[], init: Init, options?: { decay?: boolean }): Value
  /** `x` times a mask; `shape` is the mask's (axes of size 1 share one draw), by default that of x. */
  dropout(x: Value, rate: number, shape?: Shape): Value
}

/** One training step as an ONNX model, and what must be bound to it. */
export interface TrainingGraph {
  readonly model: ModelProto
  readonly parameters: readonly Parameter[]
  /** Tensors carried from step to step: input `name`, output `next:name`. Parameters first, then optimizer state. */
  readonly state: readonly { name: string; dims: readonly number[] }[]
  readonly masks: readonly Mask[]
}

export interface TrainingOptions {
  optimizer: Optimizer
  weightDecay: number
  /** Largest global gradient norm (Pascanu et al. 2013); 0 for no limit. */
  clipNorm: number
}

export const nextName = (name: string) => `next:${name}`

/**
 * The training graph: forward pass, loss, backward pass, clipping by global norm and optimizer step in one model. Inputs
 * are those that `build` declares, `learningRate` (float32 scalar), `step` (int64 scalar, from 1), masks and state;
 * outputs are `loss`, `gradientNorm`, `correct` (rows predicted right) and the next state.
 */
export function trainingGraph(
  build: (network: Network) => { loss: Value; correct: Value },
  { optimizer, weightDecay, clipNorm }: TrainingOptions,
): TrainingGraph {
  const graph = new GraphBuilder()
  const { network, parameters, values, masks } = trainingNetwork(graph)
  const { loss, correct } = build(network)
  const learningRate = graph.input('learningRate', 'float32', [])
  const step = graph.input('step', 'int64', [])
  const flows = gradients(loss, values)

  return o.within(graph, () => {
    const norm = o.sqrt(o.sum(...flows.map((gradient) => o.reduceSumSquare(gradient))))
    const scale = clipNorm > 0 ? o.min(o.div(o.scalarLike(norm, clipNorm), o.add(norm, 1e-6)), 1) : undefined
    const state: TrainingGraph['state'][number][] = parameters.map(({ name, dims }) => ({ name, dims }))
    const extra: typeof state = []
    const rule = optimizers[optimizer](learningRate, step)
    parameters.forEach(({ name, dims, decay }, i) => {
      const gradient = scale ? o.mul(flows[i], scale) : flows[i]
      const moments = rule.moments.map((moment) => graph.input(`${name}:${moment}`, 'float32', dims))
      const next = rule.update(values[i], gradient, moments, decay ? weightDecay : 0)
      graph.output(next.parameter, nextName(name))
      next.moments.forEach((value, j) => {
        graph.output(value, nextName(moments[j].name))
        extra.push({ name: moments[j].name, dims })
      })
    })
    graph.output(loss, 'loss')
    graph.output(norm, 'gradientNorm')
    graph.output(correct, 'correct')
    return { model: graph.build('training'), parameters, state: [...state, ...extra], masks }
  })
}

function trainingNetwork(graph: GraphBuilder) {
  const parameters: Parameter[] = []
  const values: Value[] = []
  const masks: Mask[] = []
  const at = (path: string): Network => ({
    graph: graph.scope(path.slice(0, -1)),
    training: true,
    scope: (name) => at(`${path}${name}/`),
    parameter(name, dims, init, { decay = dims.length > 1 } = {}) {
      const value = graph.input(path + name, 'float32', dims)
      parameters.push({ name: value.name, dims, init, decay })
      values.push(value)
      return value
    },
    dropout(x, rate, shape = x.shape) {
      if (rate === 0) return x
      const mask = graph.input(`${path}dropout`, x.dtype, shape)
      masks.push({ name: mask.name, shape, rate })
      return o.mul(x, mask)
    },
  })
  return { network: { ...at(''), graph }, parameters, values, masks }
}
