import type { Network } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import type { GraphBuilder } from '../graph/builder.ts'
import { elements, float32 } from '../graph/tensor.ts'

/** Trained weights by their paths, as a network that is served gets its parameters: stored in the graph, nothing dropped. */
export function storedNetwork(graph: GraphBuilder, weights: Record<string, { data: Float32Array }>): Network {
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
