import type { Network } from '../autograd/training.ts'
import type { GraphBuilder } from '../graph/builder.ts'
import { float32 } from '../graph/tensor.ts'

export type Weights = Record<string, { data: Float32Array }>

/** A network whose parameters are stored in the graph under their paths, without dropout. */
export function inferenceNetwork(graph: GraphBuilder, weights: Weights): Network {
  const at = (path: string): Network => ({
    graph: graph.scope(path.slice(0, -1)),
    training: false,
    scope: (name) => at(`${path}${name}/`),
    parameter: (name, dims) => graph.initializer(path + name, float32(dims, weights[path + name].data)),
    dropout: (x) => x,
  })
  return { ...at(''), graph }
}
