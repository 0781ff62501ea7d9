import type { Network } from '../autograd/training.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { type Drop, type EncoderConfig, encoder, type Tuning } from './bert.ts'
import { classifierHead, embedding, labelledLoss, maskedHead, type TextPooling, tokenHead } from './encoder-heads.ts'
import { classifierInputs } from './families.ts'
import { inferenceNetwork } from './inference.ts'
import { count, tokens } from './layers.ts'
import { classifierLoss } from './losses.ts'

/** What an encoder is for, and what its head needs to know. */
export type EncoderHead =
  /** One class: how well two texts go together. `separator` is the token after which the second type begins. */
  | { readonly task: 'text-classification'; readonly classes: number; readonly separator?: number }
  | { readonly task: 'token-classification'; readonly classes: number }
  | { readonly task: 'fill-mask' }
  | { readonly task: 'feature-extraction'; readonly pooling: TextPooling; readonly unit: boolean }

type Weights = Record<string, { data: Float32Array }>

export interface LearningOptions {
  readonly tuning: Tuning
  /** Share of activations dropped. */
  readonly dropout: number
  /** Embeddings: fit cosines of pairs to `scores` instead of telling pairs apart. */
  readonly scored?: boolean
}

/** One mask for all tokens of a text (Gal & Ghahramani 2016), over axes (batch, …, width). */
const dropping =
  (rate: number): Drop =>
  (network, x) =>
    network.dropout(x, rate, ['batch', ...x.shape.slice(1, -1).map(() => 1), Number(x.shape.at(-1))])

/**
 * The loss of an encoder and its head over a batch: `ids`, `lengths` and what the task learns from. For labels, int64:
 * `labels` (batch), or (batch, time) with -1 where there is none; for masked words, `positions` and `labels` (batch,
 * places); for embeddings, texts that belong together side by side: ids (batch, sides, time), lengths (batch, sides).
 */
export function encoderLoss(
  network: Network,
  config: EncoderConfig,
  head: EncoderHead,
  { tuning, dropout, scored = false }: LearningOptions,
): { loss: Value; correct: Value } {
  const { graph } = network
  if (head.task === 'feature-extraction') return likenessLoss(network, config, head, tuning, scored)
  const { ids, lengths } = classifierInputs(graph)
  if (head.task === 'text-classification') {
    const logits = encoderLogits(network, { ids, lengths }, config, head.classes, { tuning, dropout })
    return classifierLoss(logits, graph.input('labels', 'int64', ['batch']))
  }
  const valid = o.within(graph, () => tokens(ids, lengths))
  const drop = dropping(dropout)
  const { hidden, words } = encoder(network, { ids, valid }, config, { drop, tuning })
  const flat = (value: Value) => o.within(graph, () => o.reshape(value, [-1]))
  if (head.task === 'token-classification') {
    const labels = graph.input('labels', 'int64', ['batch', 'time'])
    const logits = tokenHead(network, hidden, head.classes, drop)
    const rows = o.within(graph, () => o.reshape(logits, [-1, head.classes]))
    return labelledLoss(rows, flat(labels))
  }
  const positions = graph.input('positions', 'int64', ['batch', 'places'])
  const labels = graph.input('labels', 'int64', ['batch', 'places'])
  return labelledLoss(maskedHead(network, { hidden, words }, positions, config), flat(labels))
}

/** Scores (batch, classes) of texts: ids int64 (batch, time), lengths int64 (batch). */
export function encoderLogits(
  network: Network,
  { ids, lengths }: { ids: Value; lengths: Value },
  config: EncoderConfig,
  classes: number,
  { tuning, dropout }: LearningOptions,
): Value {
  const valid = o.within(network.graph, () => tokens(ids, lengths))
  const drop = dropping(dropout)
  const { hidden } = encoder(network, { ids, valid }, config, { drop, tuning })
  return classifierHead(network, hidden, config, classes, drop)
}

/**
 * How far the vectors of texts point elsewhere than others: minus the mean product of vectors of length 1 and `directions`
 * float32 (batch, width), beside ids and lengths as for all encoders; `correct` counts cosines above 0.95.
 */
export function directionLoss(
  network: Network,
  config: EncoderConfig,
  pooling: TextPooling,
): { loss: Value; correct: Value } {
  const { graph } = network
  const { ids, lengths } = classifierInputs(graph)
  const directions = graph.input('directions', 'float32', ['batch', config.width])
  const valid = o.within(graph, () => tokens(ids, lengths))
  const { hidden } = encoder(network, { ids, valid }, config)
  return o.within(graph, () => {
    const alike = o.reduceSum(o.mul(embedding(hidden, valid, pooling, true), directions), [1]) // (batch)
    return { loss: o.neg(o.reduceMean(alike)), correct: o.reduceSum(o.cast(o.greater(alike, 0.95), 'int64')) }
  })
}

/** How much more alike than others texts that belong together must be: the inverse temperature of the softmax. */
const SHARPNESS = 20

/**
 * Each text's first neighbour must be told from all others of the batch (van den Oord et al. 2018): cross-entropy over
 * cosines. Texts beyond the second are further wrong answers. Scored pairs: squared error of the cosine (Reimers &
 * Gurevych 2019), `scores` float32 (batch).
 */
function likenessLoss(
  network: Network,
  config: EncoderConfig,
  { pooling }: Extract<EncoderHead, { task: 'feature-extraction' }>,
  tuning: Tuning,
  scored: boolean,
): { loss: Value; correct: Value } {
  const { graph } = network
  const texts = graph.input('ids', 'int64', ['batch', 'sides', 'time'])
  const many = graph.input('lengths', 'int64', ['batch', 'sides'])
  const [ids, lengths] = o.within(graph, () => [
    o.reshape(texts, o.concat([o.ints(texts, [-1]), o.dimension(texts, 2)], 0)),
    o.reshape(many, [-1]),
  ])
  const valid = o.within(graph, () => tokens(ids, lengths))
  const { hidden } = encoder(network, { ids, valid }, config, { tuning })
  return o.within(graph, () => {
    const rows = embedding(hidden, valid, pooling, true) // (batch · sides, width)
    const grouped = o.reshape(
      rows,
      o.concat([o.dimension(texts, 0), o.dimension(texts, 1), o.ints(ids, [config.width])], 0),
    )
    const anchors = o.squeeze(o.slice(grouped, [0], [1], [1]), [1]) // (batch, width)
    const others = o.slice(grouped, [1], [2 ** 31 - 1], [1]) // (batch, sides - 1, width)
    if (scored) {
      const cosine = o.reduceSum(o.mul(anchors, o.squeeze(others, [1])), [1]) // (batch)
      const off = o.sub(cosine, graph.input('scores', 'float32', ['batch']))
      const close = o.less(o.abs(off), 0.1)
      return { loss: o.reduceMean(o.mul(off, off)), correct: o.reduceSum(o.cast(close, 'int64')) }
    }
    // right answers first: (sides - 1, batch, width) → (batch · (sides - 1), width)
    const answers = o.reshape(o.transpose(others, [1, 0, 2]), [-1, config.width])
    const likeness = o.mul(o.matMul(anchors, o.transpose(answers, [1, 0])), SHARPNESS)
    return classifierLoss(likeness, count(o.dimension(texts, 0)))
  })
}

/** The graph that is served: ids, lengths (and positions of masks) → what the task's runner reads. */
export function encoderModel(config: EncoderConfig, head: EncoderHead, weights: Weights): ModelProto {
  const graph = new GraphBuilder()
  const network = inferenceNetwork(graph, weights)
  const { ids, lengths } = classifierInputs(graph)
  const valid = tokens(ids, lengths)
  const types = 'separator' in head && head.separator !== undefined ? typesOf(ids, head.separator) : undefined
  const { hidden, words } = encoder(network, { ids, valid, ...(types && { types }) }, config)
  if (head.task === 'feature-extraction') {
    graph.output(embedding(hidden, valid, head.pooling, head.unit), 'embeddings')
    return graph.build('encoder')
  }
  let logits: Value
  if (head.task === 'fill-mask') {
    const positions = graph.input('positions', 'int64', ['batch', 'places'])
    const rows = maskedHead(network, { hidden, words }, positions, config)
    const shape = o.concat([o.dimension(positions, 0), o.dimension(positions, 1), o.ints(ids, [config.vocabulary])], 0)
    logits = o.reshape(rows, shape) // (batch, places, vocabulary)
  } else if (head.task === 'text-classification') logits = classifierHead(network, hidden, config, head.classes)
  else logits = tokenHead(network, hidden, head.classes)
  graph.output(logits, 'logits')
  const alone = head.task === 'text-classification' && head.classes === 1
  graph.output(alone ? o.sigmoid(logits) : o.softmax(logits), 'probabilities')
  return graph.build('encoder')
}

/** Types of tokens (batch, time): 1 after the first separator. */
function typesOf(ids: Value, separator: number): Value {
  const ends = o.cast(o.equal(ids, o.ints(ids, [separator])), 'int64')
  return o.min(o.cumSum(ends, 1, { exclusive: true }), o.ints(ids, [1]))
}

/** The graph as Hugging Face's libraries name its inputs and outputs: input_ids, attention_mask and, where it has them, token_type_ids. */
export function portableModel(config: EncoderConfig, head: EncoderHead, weights: Weights): ModelProto {
  const graph = new GraphBuilder()
  const network = inferenceNetwork(graph, weights)
  const input = (name: string) => graph.input(name, 'int64', ['batch_size', 'sequence_length'])
  const [ids, mask] = [input('input_ids'), input('attention_mask')]
  // RoBERTa's one type is never asked for
  const types = config.layout === 'bert' && config.types > 0 ? input('token_type_ids') : undefined
  const valid = o.greater(mask, 0)
  const { hidden, words } = encoder(network, { ids, valid, ...(types && { types }) }, config)
  const named = (value: Value, name: string) => graph.output(value, name)
  if (head.task === 'feature-extraction') named(hidden, 'last_hidden_state')
  else if (head.task === 'text-classification') named(classifierHead(network, hidden, config, head.classes), 'logits')
  else if (head.task === 'token-classification') named(tokenHead(network, hidden, head.classes), 'logits')
  else {
    const rows = maskedHead(network, { hidden, words }, undefined, config)
    const shape = o.concat([o.dimension(ids, 0), o.dimension(ids, 1), o.ints(ids, [config.vocabulary])], 0)
    named(o.reshape(rows, shape), 'logits')
  }
  return graph.build('encoder')
}

/** The parameters of an encoder with its head, in the order of their use. */
export function encoderParameters(
  config: EncoderConfig,
  head: EncoderHead,
): { name: string; dims: readonly number[] }[] {
  const found: { name: string; dims: readonly number[] }[] = []
  const graph = new GraphBuilder()
  const at = (path: string): Network => ({
    graph,
    training: false,
    scope: (name) => at(`${path}${name}/`),
    parameter(name, dims) {
      found.push({ name: path + name, dims })
      return graph.input(path + name, 'float32', dims)
    },
    dropout: (x) => x,
  })
  encoderLoss(at(''), config, head, { tuning: { mode: 'full' }, dropout: 0 })
  return found
}
