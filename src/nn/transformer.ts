import type { Network } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { attention, silence } from './attention.ts'
import type { Build } from './family.ts'
import { affineParts, count, dense, denseParameters, embedding, normalise, shares, tokens, weighted } from './layers.ts'

/** Transformer encoder (Vaswani et al. 2017) with normalisation before each part (Xiong et al. 2020), pooling, dense head. */
export const transformer: Build = (network, ids, lengths, config) => {
  const { graph } = network
  const [width, layers, heads, inner] = [config.width, config.layers, config.heads, config.inner].map(Number)
  const size = Number(config.headSize) || width / heads
  if (width % 2 !== 0 || !Number.isInteger(size)) {
    throw fail('OPTION_INVALID', { option: 'width', reason: `expected a multiple of ${2 * heads}, twice the heads` })
  }
  // one mask for all tokens of a text
  const drop = (at: Network, x: Value) => at.dropout(x, Number(config.dropout), [ids.shape[0], 1, width])
  const valid = o.within(graph, () => tokens(ids, lengths)) // (batch, time)
  const bias = silence(network, valid)

  const table = network.scope('embedding')
  const vectors = embedding(table, ids, config.vocabulary, width) // (batch, time, width)
  const placed = positions(network.scope('positions'), ids, width, config)
  let x = drop(
    table,
    o.within(graph, () => o.add(o.mul(vectors, Math.sqrt(width)), placed)),
  )
  for (let i = 0; i < layers; i++) {
    const layer = network.scope(`layer.${i}`)
    const [hearing, feedForward] = [layer.scope('attention'), layer.scope('feedForward')]
    const heard = selfAttention(hearing, normalise(hearing, x), bias, heads, size)
    const attended = o.within(graph, () => o.add(x, drop(hearing, heard)))
    const widened = dense(feedForward.scope('in'), normalise(feedForward, attended), inner)
    const narrowed = dense(
      feedForward.scope('out'),
      o.within(graph, () => o.gelu(widened)),
      width,
    )
    x = o.within(graph, () => o.add(attended, drop(feedForward, narrowed)))
  }
  const y = normalise(network.scope('last'), x)
  const pooled = o.within(graph, () =>
    config.pooling === 'first' ? o.squeeze(o.slice(y, [0], [1], [1]), [1]) : weighted(y, shares(valid)),
  ) // (batch, width)
  const head = network.scope('classifier')
  return dense(head, head.dropout(pooled, Number(config.dropout)), config.classes) // (batch, classes)
}

/** Attention of x (batch, time, width) to itself by heads of a size; `bias` is added to the scores. */
function selfAttention(network: Network, x: Value, bias: Value, heads: number, size: number): Value {
  const width = Number(x.shape[2])
  const inner = heads * size // the width, unless heads were pruned
  const { weight, bias: shift } = denseParameters(network.scope('in'), x, 3 * inner)
  const parts = affineParts(network, x, weight, shift, 3) // each (batch, time, inner)
  return dense(network.scope('out'), attention(network, parts, bias, heads, size), width)
}

/** What tells positions apart, (time, width): waves of falling frequency, or learnt vectors of the first `maxLength`. */
function positions(network: Network, ids: Value, width: number, { positions: kind, maxLength }: Parameters<Build>[3]) {
  const every = o.within(network.graph, () => count(o.dimension(ids, 1)))
  if (kind === 'learned') {
    const rows = Number(maxLength)
    return embedding(
      network,
      o.within(network.graph, () => o.min(every, rows - 1)),
      rows,
      width,
    )
  }
  const falling = Array.from({ length: width / 2 }, (_, i) => 10_000 ** ((-2 * i) / width))
  return o.within(network.graph, () => {
    const angle = o.mul(o.unsqueeze(o.cast(every, 'float32'), [1]), o.constant(ids, float32([width / 2], falling)))
    return o.concat([o.sin(angle), o.cos(angle)], 1)
  })
}
