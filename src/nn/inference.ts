import type { Network } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import type { GraphBuilder } from '../graph/builder.ts'
import { elements, float32 } from '../graph/tensor.ts'

export type Weights = Record<string, { data: Float32Array }>

/** A network whose parameters are stored in the graph under their paths, without dropout. */
export function inferenceNetwork(graph: GraphBuilder, weights: Weights): Network {
  const at = (path: string): Network => ({
    graph: graph.scope(path.slice(0, -1)),
    training: false,
    scope: (name) => at(`${path}${name}/`),
    parameter(name, dims) {
      const data = weights[path + name]?.data
      if (data?.length !== elements(dims))
        throw fail('BUNDLE_INVALID', { reason: `weight "${path}${name}" of shape [${dims}] is missing or another` })
      return graph.initializer(path + name, float32(dims, data))
    },
    dropout: (x) => x,
  })
  return { ...at(''), graph }
}
