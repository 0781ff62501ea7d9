import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { Build } from './family.ts'
import { count, dense, embedding, tokens } from './layers.ts'

/**
 * Convolutions over windows of several sizes, the strongest answer of each filter, dense head (Kim 2014). A text goes on
 * with padding at both ends, so that windows reach over its edges and a single token has windows too.
 */
export const textcnn: Build = (network, ids, lengths, config) => {
  const [width, filters] = [Number(config.width), Number(config.filters)]
  const sizes = Array.from({ length: Number(config.windows) }, (_, i) => Number(config.narrowest) + i)
  const edge = Math.max(...sizes) - 1
  const padded = o.within(network.graph, () => o.pad(o.where(tokens(ids, lengths), ids, 0), [0, edge, 0, edge]))
  const vectors = embedding(network.scope('embedding'), padded, config.vocabulary, width) // (batch, edge + time + edge, width)
  const dropout = Number(config.dropout)
  const x = network.scope('embedding').dropout(vectors, dropout, [ids.shape[0], 1, width])
  const channels = o.within(network.graph, () => o.transpose(x, [0, 2, 1])) // (batch, width, edge + time + edge)

  const strongest = sizes.map((size) => {
    const layer = network.scope(`windows.${size}`)
    const init = { kind: 'uniform', bound: 1 / Math.sqrt(size * width) } as const
    const weight = layer.parameter('weight', [filters, width, size], init)
    const bias = layer.parameter('bias', [filters], init)
    return o.within(network.graph, () => {
      const start = count(o.sub(o.dimension(channels, 2), size - 1)) // where windows begin
      const ends = o.unsqueeze(o.add(lengths, edge), [1])
      const valid = o.and(o.greater(start, edge - size), o.less(start, ends)) // (batch, windows)
      return o.relu(o.add(strongestWindow(x, channels, weight, o.unsqueeze(valid, [1])), bias))
    })
  })
  const features = o.within(network.graph, () => o.concat(strongest, 1)) // (batch, filters · sizes)
  const head = network.scope('classifier')
  return dense(head, head.dropout(features, dropout), config.classes) // (batch, classes)
}

/**
 * The greatest answer of each filter over the valid windows: x (batch, time, width), also as `channels` (batch, width,
 * time), weight (filters, width, size), valid bool (batch, 1, windows) → (batch, filters). Only the window that won has
 * a gradient: the weights' is a product of those windows alone, `time` times less work than that of all windows.
 */
function strongestWindow(x: Value, channels: Value, weight: Value, valid: Value): Value {
  const [filters, width, size] = weight.shape.map(Number)
  const [peak] = x.graph.region([channels, weight], () => {
    const answers = o.where(valid, o.conv(channels, weight), -1e30) // (batch, filters, windows)
    return {
      outputs: [o.reduceMax(answers, [2])],
      gradient: ([dy]) => {
        const at = o.argMax(answers, 2, true) // (batch, filters, 1)
        const dAnswers = o.scatterElements(o.zerosLike(answers), at, o.unsqueeze(dy!, [2]), 2)
        const first = o.mul(count(o.dimension(x, 0)), o.dimension(x, 1)) // of each text among all rows
        const offsets = o.add(o.unsqueeze(first, [1, 2]), o.ints(x, [...Array(size).keys()])) // (batch, 1, size)
        const rows = o.transpose(o.add(at, offsets), [1, 0, 2]) // (filters, batch, size)
        const winners = o.reshape(o.gather(o.reshape(x, [-1, width]), rows), [0, 0, size * width])
        const dWeight = o.matMul(o.unsqueeze(o.transpose(dy!, [1, 0]), [1]), winners) // (filters, 1, size · width)
        const turned = o.slice(o.transpose(weight, [1, 0, 2]), [-1], [-(2 ** 31)], [2], [-1]) // (width, filters, size)
        return [
          o.conv(dAnswers, turned, [size - 1, size - 1]),
          o.transpose(o.reshape(dWeight, [filters, size, width]), [0, 2, 1]),
        ]
      },
    }
  })
  return peak
}
