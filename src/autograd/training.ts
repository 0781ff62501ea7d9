import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import type { Shape } from '../graph/shape.ts'
import { sparseGradients } from './gradients.ts'

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
export interface Mask {
  readonly name: string
  readonly shape: Shape
  readonly rate: number
}

interface ParameterOptions {
  decay?: boolean
  trainable?: boolean
  /** Of one that is not trained: its value after a step, asked for when the network is built; a running statistic, say. */
  next?: () => Value
}

/**
 * Where a network gets its parameters and masks from: in training they are inputs of the graph, in inference parameters
 * are stored in it and dropout is left out.
 */
export interface Network {
  readonly graph: GraphBuilder
  readonly training: boolean
  scope(name: string): Network
  /** `trainable: false` leaves it as it is: an input of the graph without a gradient. */
  parameter(name: string, dims: readonly number[], init: Init, options?: ParameterOptions): Value
  /** `x` times a mask; `shape` is the mask's (axes of size 1 share one draw), by default that of x. */
  dropout(x: Value, rate: number, shape?: Shape): Value
}

/** Loss and gradients of a network as an ONNX model, and what must be bound to it. */
export interface TrainingGraph {
  readonly model: ModelProto
  readonly parameters: readonly Parameter[]
  /** Parameters without a gradient. */
  readonly frozen: readonly Parameter[]
  /** Those of them that each step replaces. They tell of a batch as a whole, which therefore must not be shared out. */
  readonly running: readonly string[]
  readonly masks: readonly Mask[]
  /** Parameters whose gradient comes out as rows, to be added up by index, and the shape of the indices. */
  readonly tables: readonly { name: string; shape: Shape }[]
}

export const gradientName = (parameter: string) => `gradient:${parameter}`
export const indicesName = (parameter: string) => `indices:${parameter}`
export const nextName = (parameter: string) => `next:${parameter}`

/**
 * Forward pass, loss and backward pass in one model. Inputs are those that `build` declares, parameters, masks and
 * `share` (float32 scalar): the part of a batch that these rows are, so that the gradients of parts add up to that of
 * the whole. Outputs are `loss`, `correct` (rows predicted right) and `gradient:<parameter>`, loss and gradients times
 * the share; for tables, the gradient is one of rows, and `indices:<parameter>` says which; `next:<parameter>` is what
 * becomes of a running one.
 */
export function trainingGraph(build: (network: Network) => { loss: Value; correct: Value }): TrainingGraph {
  const graph = new GraphBuilder()
  const { network, parameters, frozen, values, masks, nexts } = trainingNetwork(graph)
  const { loss, correct } = build(network)
  return o.within(graph, () => {
    const part = o.mul(loss, graph.input('share', 'float32', []))
    const tables: TrainingGraph['tables'][number][] = []
    sparseGradients(part, values).forEach((gradient, i) => {
      const { name } = parameters[i]
      if ('rows' in gradient) {
        tables.push({ name, shape: gradient.indices.shape })
        graph.output(gradient.rows, gradientName(name))
        graph.output(gradient.indices, indicesName(name))
      } else graph.output(gradient, gradientName(name))
    })
    graph.output(part, 'loss')
    graph.output(correct, 'correct')
    for (const [name, next] of nexts) graph.output(next(), nextName(name))
    return { model: graph.build('training'), parameters, frozen, running: [...nexts.keys()], masks, tables }
  })
}

function trainingNetwork(graph: GraphBuilder) {
  const parameters: Parameter[] = []
  const frozen: Parameter[] = []
  const values: Value[] = []
  const masks: Mask[] = []
  const nexts = new Map<string, () => Value>()
  const at = (path: string): Network => ({
    graph: graph.scope(path.slice(0, -1)),
    training: true,
    scope: (name) => at(`${path}${name}/`),
    parameter(name, dims, init, { decay = dims.length > 1, trainable = true, next } = {}) {
      const value = graph.input(path + name, 'float32', dims)
      const parameter = { name: value.name, dims, init, decay }
      if (trainable) values.push(value)
      ;(trainable ? parameters : frozen).push(parameter)
      if (next) nexts.set(value.name, next)
      return value
    },
    dropout(x, rate, shape = x.shape) {
      if (rate === 0) return x
      const mask = graph.input(`${path}dropout`, x.dtype, shape)
      masks.push({ name: mask.name, shape, rate })
      return o.mul(x, mask)
    },
  })
  return { network: { ...at(''), graph }, parameters, frozen, values, masks, nexts }
}
