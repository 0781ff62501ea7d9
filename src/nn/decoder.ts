import type { Init, Network } from '../autograd/training.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { attend, headsOf, joined } from './attention.ts'
import { inferenceNetwork, type Weights } from './inference.ts'
import { affine, affineParts, count, headSizeOf, normalise, rootMeanNormalise } from './layers.ts'

/** A decoder's sizes. `gpt` is GPT-2's layout (Radford et al. 2019), `llama` that of Llama 2 and 3 (Touvron et al. 2023). */
export interface DecoderConfig {
  readonly layout: 'gpt' | 'llama'
  readonly vocabulary: number
  /** Most tokens in a text. */
  readonly context: number
  readonly width: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values, each shared by as many heads of queries (Ainslie et al. 2023); llama alone. */
  readonly keyHeads: number
  /** Size of a head, where they do not make up the width. */
  readonly headSize?: number
  /** Size of the feed-forward part. */
  readonly inner: number
  /** Scores come from the embedding table itself. */
  readonly tied: boolean
  /** Base of the rotation frequencies; llama alone. */
  readonly base: number
  readonly epsilon: number
  readonly dropout: number
}

/** Keys and values of one layer, each (batch, heads, time, size). */
interface KeysAndValues {
  key: Value
  value: Value
}

/** What attention needs to know of the tokens' places. */
interface Places {
  /** int64 (batch or 1, sequence) */
  readonly positions: Value
  /** Added to the scores of each head (batch or 1, 1, sequence, total): hides what is padding or comes later. */
  readonly bias: Value
  /** Turns queries and keys, llama alone: cosine and sine (batch or 1, 1, sequence, size / 2). */
  readonly rotation?: { cos: Value; sin: Value }
}

/** ids int64 (batch, sequence) → scores (batch, sequence, vocabulary) and each layer's keys and values, past ones included. */
function decoder(
  network: Network,
  ids: Value,
  places: Places,
  config: DecoderConfig,
  past?: readonly KeysAndValues[],
  lastOnly = false,
): { logits: Value; present: KeysAndValues[] } {
  const { graph } = network
  const { layout, vocabulary, width, layers, dropout, tied } = config
  const norm = (at: Network, x: Value) =>
    layout === 'gpt' ? normalise(at, x, config.epsilon) : rootMeanNormalise(at, x, config.epsilon)
  const drop = (at: Network, x: Value) => at.dropout(x, dropout, [ids.shape[0], 1, width])

  const table = network
    .scope('embedding')
    .parameter('weight', [vocabulary, width], { kind: 'normal', deviation: DEVIATION })
  let x = o.within(graph, () => o.gather(table, ids)) // (batch, sequence, width)
  if (layout === 'gpt') {
    const learnt = network
      .scope('positions')
      .parameter('weight', [config.context, width], { kind: 'normal', deviation: DEVIATION })
    x = o.within(graph, () => o.add(x, o.gather(learnt, places.positions)))
  }
  x = drop(network.scope('embedding'), x)
  const present: KeysAndValues[] = []
  for (let i = 0; i < layers; i++) {
    const layer = network.scope(`layer.${i}`)
    const [at, feed] = [layer.scope('attention'), layer.scope('feedForward')]
    const attended = attention(at, norm(at, x), places, config, past?.[i])
    present.push(attended.present)
    x = o.within(graph, () => o.add(x, drop(at, attended.y)))
    const widened = norm(feed, x)
    const narrowed = layout === 'gpt' ? geluFeedForward(feed, widened, config) : gatedFeedForward(feed, widened, config)
    x = o.within(graph, () => o.add(x, drop(feed, narrowed)))
  }
  if (lastOnly) x = o.within(graph, () => o.slice(x, [-1], [2 ** 31], [1])) // (batch, 1, width)
  const y = norm(network.scope('last'), x)
  const head = tied
    ? table
    : network.scope('head').parameter('weight', [vocabulary, width], { kind: 'normal', deviation: DEVIATION })
  return { logits: o.within(graph, () => affine(y, head)), present }
}

const DEVIATION = 0.02

/** Attention of x (batch, sequence, width) to itself and what came before. */
function attention(network: Network, x: Value, places: Places, config: DecoderConfig, past?: KeysAndValues) {
  const { width, heads, layers, layout } = config
  const keyHeads = layout === 'gpt' ? heads : config.keyHeads
  const [size, group] = [headSizeOf(config), heads / keyHeads]
  const parts = projections(network, x, config)
  const { graph } = network
  const present = {} as KeysAndValues
  const context = o.within(graph, () => {
    const turned = (y: Value) => (places.rotation ? rotate(y, places.rotation) : y)
    const query = turned(headsOf(parts.query, heads, size)) // (batch, heads, sequence, size)
    const key = turned(headsOf(parts.key, keyHeads, size))
    const value = headsOf(parts.value, keyHeads, size)
    present.key = past ? o.concat([past.key, key], 2) : key // (batch, keyHeads, total, size)
    present.value = past ? o.concat([past.value, value], 2) : value
    // queries that share keys stand under one another
    const grouped = group === 1 ? query : o.reshape(query, [0, keyHeads, -1, size]) // (batch, keyHeads, group · sequence, size)
    const bias = group === 1 ? places.bias : o.concat(Array<Value>(group).fill(places.bias), 2)
    const heard = attend(network, grouped, present.key, present.value, bias)
    const ungrouped = group === 1 ? heard : o.reshape(heard, [0, heads, -1, size])
    return joined(ungrouped, heads * size)
  })
  const y = linear(network.scope('out'), context, width, { bias: layout === 'gpt', deviation: narrowing(layers) })
  return { y, present }
}

function projections(network: Network, x: Value, config: DecoderConfig) {
  const size = headSizeOf(config)
  const [wide, kept] = [config.heads * size, config.keyHeads * size]
  if (config.layout === 'llama') {
    const of = (name: string, outputs: number) => linear(network.scope(name), x, outputs)
    return { query: of('query', wide), key: of('key', kept), value: of('value', kept) }
  }
  const { weight, bias } = linearParameters(network.scope('in'), x, 3 * wide, { bias: true })
  const [query, key, value] = affineParts(network, x, weight, bias!, 3)
  return { query, key, value }
}

function geluFeedForward(network: Network, x: Value, { inner, width, layers }: DecoderConfig): Value {
  const widened = linear(network.scope('in'), x, inner, { bias: true })
  const bent = o.within(network.graph, () => o.gelu(widened, 'tanh'))
  return linear(network.scope('out'), bent, width, { bias: true, deviation: narrowing(layers) })
}

/** SwiGLU (Shazeer 2020). */
function gatedFeedForward(network: Network, x: Value, { inner, width, layers }: DecoderConfig): Value {
  const gate = linear(network.scope('gate'), x, inner)
  const up = linear(network.scope('up'), x, inner)
  const y = o.within(network.graph, () => o.mul(o.mul(gate, o.sigmoid(gate)), up))
  return linear(network.scope('down'), y, width, { deviation: narrowing(layers) })
}

/** What is added to the residual stream starts smaller the more layers there are (Radford et al. 2019). */
const narrowing = (layers: number) => DEVIATION / Math.sqrt(2 * layers)

function linear(
  network: Network,
  x: Value,
  outputs: number,
  options: { bias?: boolean; deviation?: number } = {},
): Value {
  const { weight, bias } = linearParameters(network, x, outputs, options)
  return o.within(network.graph, () => affine(x, weight, bias))
}

function linearParameters(
  network: Network,
  x: Value,
  outputs: number,
  { bias = false, deviation = DEVIATION }: { bias?: boolean; deviation?: number },
) {
  const init: Init = { kind: 'normal', deviation }
  const weight = network.parameter('weight', [outputs, Number(x.shape.at(-1))], init)
  return { weight, bias: bias ? network.parameter('bias', [outputs], { kind: 'zeros' }) : undefined }
}

/** Rotary positions (Su et al. 2021), the halves of a head paired as Hugging Face's Llama does. */
function rotate(x: Value, { cos, sin }: { cos: Value; sin: Value }): Value {
  const half = Number(x.shape[3]) / 2
  const [a, b] = o.split(x, [half, half], 3)
  return o.concat([o.sub(o.mul(a, cos), o.mul(b, sin)), o.add(o.mul(b, cos), o.mul(a, sin))], 3)
}

function rotation(positions: Value, config: DecoderConfig): Places['rotation'] {
  if (config.layout === 'gpt') return undefined
  const size = headSizeOf(config)
  const frequencies = Array.from({ length: size / 2 }, (_, i) => config.base ** ((-2 * i) / size))
  const steps = o.unsqueeze(o.cast(positions, 'float32'), [1, 3]) // (batch, 1, sequence, 1)
  const angle = o.mul(steps, o.constant(positions, float32([size / 2], frequencies)))
  return { cos: o.cos(angle), sin: o.sin(angle) }
}

const HIDDEN = -1e30

/** Inputs ids and targets int64 (batch, time): the token that should follow each, or -1 where nothing is to be learnt. */
export function decoderLoss(network: Network, config: DecoderConfig): { loss: Value; correct: Value } {
  const { graph } = network
  const ids = graph.input('ids', 'int64', ['batch', 'time'])
  const targets = graph.input('targets', 'int64', ['batch', 'time'])
  const places = o.within(graph, (): Places => {
    const every = count(o.dimension(ids, 1)) // (time)
    const later = o.greater(o.unsqueeze(every, [0]), o.unsqueeze(every, [1])) // (time, time)
    const positions = o.unsqueeze(every, [0])
    const turn = rotation(positions, config)
    const bias = o.unsqueeze(o.mul(o.cast(later, 'float32'), HIDDEN), [0, 1])
    return { positions, bias, ...(turn && { rotation: turn }) }
  })
  const { logits } = decoder(network, ids, places, config)
  return o.within(graph, () => {
    const rows = o.reshape(logits, [-1, config.vocabulary])
    const wanted = o.reshape(targets, [-1])
    const counted = o.greaterOrEqual(wanted, 0)
    const share = o.cast(counted, 'float32')
    const total = o.max(o.reduceSum(share), 1)
    const picked = o.gatherElements(o.logSoftmax(rows), o.unsqueeze(o.max(wanted, 0), [1]), 1)
    const loss = o.neg(o.div(o.reduceSum(o.mul(o.squeeze(picked, [1]), share)), total))
    const right = o.equal(o.argMax(rows, 1), wanted)
    return { loss, correct: o.reduceSum(o.cast(right, 'int64')) }
  })
}

/** The loss of stored weights: ids and targets as for training → `loss`, the mean over the targets. */
export function decoderLossGraph(config: DecoderConfig, weights: Weights): ModelProto {
  const graph = new GraphBuilder()
  graph.output(decoderLoss(inferenceNetwork(graph, weights), config).loss, 'loss')
  return graph.build('loss')
}

/**
 * The trained decoder for serving, by the names that Hugging Face's exports use (see src/engine/decoder.ts): prefill and
 * single steps in one graph. Texts of different lengths are padded at the left and masked. With `lastOnly`, `logits` are
 * those of the last position alone.
 */
export function decoderGraph(config: DecoderConfig, weights: Weights, { lastOnly = true } = {}): ModelProto {
  const graph = new GraphBuilder()
  const ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  const mask = graph.input('attention_mask', 'int64', ['batch', 'total'])
  const positions = graph.input('position_ids', 'int64', ['batch', 'sequence'])
  const heads = config.layout === 'gpt' ? config.heads : config.keyHeads
  const shape = ['batch', heads, 'past', headSizeOf(config)]
  const past = Array.from(
    { length: config.layers },
    (_, i): KeysAndValues => ({
      key: graph.input(`past_key_values.${i}.key`, 'float32', shape),
      value: graph.input(`past_key_values.${i}.value`, 'float32', shape),
    }),
  )
  const places = o.within(graph, (): Places => {
    const before = o.sub(o.dimension(mask, 1), o.dimension(ids, 1)) // (1)
    const rows = o.add(count(o.dimension(ids, 1)), before) // places of the new tokens in all of them
    const later = o.greater(o.unsqueeze(count(o.dimension(mask, 1)), [0]), o.unsqueeze(rows, [1])) // (sequence, total)
    const hidden = o.or(o.unsqueeze(later, [0, 1]), o.unsqueeze(o.equal(mask, 0), [1, 2]))
    const turn = rotation(positions, config)
    return { positions, bias: o.mul(o.cast(hidden, 'float32'), HIDDEN), ...(turn && { rotation: turn }) }
  })
  const { logits, present } = decoder(inferenceNetwork(graph, weights), ids, places, config, past, lastOnly)
  graph.output(logits, 'logits')
  present.forEach(({ key, value }, i) => {
    graph.output(key, `present.${i}.key`)
    graph.output(value, `present.${i}.value`)
  })
  return graph.build('decoder')
}
