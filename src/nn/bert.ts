import type { Init, Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { attention, silence } from './attention.ts'
import { count, headSizeOf } from './layers.ts'

/** How an encoder of BERT's kind is laid out (Devlin et al. 2019; RoBERTa, Liu et al. 2019; DistilBERT, Sanh et al. 2019). */
export interface EncoderConfig {
  readonly layout: 'bert' | 'roberta' | 'distilbert'
  readonly vocabulary: number
  readonly width: number
  readonly layers: number
  readonly heads: number
  /** Size of a head, where heads were taken out; otherwise they make up the width. */
  readonly headSize?: number
  readonly inner: number
  /** Rows of the table of positions, and the row of the first token. */
  readonly positions: number
  readonly firstPosition: number
  /** Rows of the table of token types; 0 for none. */
  readonly types: number
  readonly activation: 'gelu' | 'gelu_tanh' | 'relu'
  readonly epsilon: number
  /** The token that fills texts up to a length. */
  readonly padding: number
}

/**
 * What training changes: everything, the last `layers` and the head, or low-rank changes of the named products (Hu et al.
 * 2021) and the head.
 */
export type Tuning =
  | { readonly mode: 'full' }
  | { readonly mode: 'last'; readonly layers: number }
  | { readonly mode: 'lora'; readonly rank: number; readonly alpha: number; readonly targets: ReadonlySet<Target> }

/** The products of a layer that low-rank changes can be added to. */
export const targets = ['query', 'key', 'value', 'output', 'up', 'down'] as const
export type Target = (typeof targets)[number]

export const FULL: Tuning = { mode: 'full' }

/** Parameters start as BERT's: N(0, 0.02²). */
const drawn: Init = { kind: 'normal', deviation: 0.02 }

/** Drops activations of training; axes (text, token, width). */
export type Drop = (network: Network, x: Value) => Value

export interface EncoderInputs {
  /** int64 (batch, time) */
  readonly ids: Value
  /** bool (batch, time): which are tokens of the text. */
  readonly valid: Value
  /** int64 (batch, time); all of the first type if absent. */
  readonly types?: Value
}

/** Hidden states (batch, time, width): embeddings, then layers that normalise after each part. */
export function encoder(
  network: Network,
  { ids, valid, types }: EncoderInputs,
  config: EncoderConfig,
  { drop = (_, x) => x, tuning = FULL }: { drop?: Drop; tuning?: Tuning } = {},
): { hidden: Value; words: Value } {
  const { graph } = network
  const { layers, width, epsilon } = config
  const bias = silence(network, valid)
  const trainable = (layer: number) =>
    tuning.mode === 'full' || (tuning.mode === 'last' && layer >= layers - tuning.layers)

  const at = network.scope('embeddings')
  const table = (name: string, rows: number) =>
    at.scope(name).parameter('weight', [rows, width], drawn, { decay: false, trainable: trainable(-1) })
  const words = table('words', config.vocabulary)
  const positions = table('positions', config.positions)
  const kinds = config.types > 0 ? table('types', config.types) : undefined
  const summed = o.within(graph, () => {
    const places = o.add(count(o.dimension(ids, 1)), config.firstPosition)
    const placed = o.add(o.gather(words, ids), o.gather(positions, places)) // (batch, time, width)
    if (!kinds) return placed
    return o.add(placed, types ? o.gather(kinds, types) : o.gather(kinds, o.ints(ids, [0])))
  })
  let x = drop(at, normalised(at.scope('norm'), summed, epsilon, trainable(-1)))
  for (let i = 0; i < layers; i++) x = layer(network.scope(`layer.${i}`), x, bias, config, drop, trainable(i), tuning)
  return { hidden: x, words }
}

function layer(
  network: Network,
  x: Value,
  bias: Value,
  config: EncoderConfig,
  drop: Drop,
  trainable: boolean,
  tuning: Tuning,
): Value {
  const { graph } = network
  const { width, heads, inner, activation, epsilon } = config
  const size = headSizeOf(config)
  const hearing = network.scope('attention')
  const feedForward = network.scope('feedForward')
  const product = (at: Network, target: Target, input: Value, outputs: number) => {
    const adapter = tuning.mode === 'lora' && tuning.targets.has(target) ? tuning : undefined
    return linear(at.scope(target), input, outputs, { trainable, ...(adapter && { adapter }) })
  }
  const parts = (['query', 'key', 'value'] as const).map((name) => product(hearing, name, x, heads * size))
  const heard = attention(network, parts, bias, heads, size)
  const answer = drop(hearing, product(hearing, 'output', heard, width))
  const attended = normalised(
    hearing.scope('norm'),
    o.within(graph, () => o.add(x, answer)),
    epsilon,
    trainable,
  )
  const widened = product(feedForward, 'up', attended, inner)
  const active = o.within(graph, () => activations[activation](widened))
  const narrowed = drop(feedForward, product(feedForward, 'down', active, width))
  return normalised(
    feedForward.scope('norm'),
    o.within(graph, () => o.add(attended, narrowed)),
    epsilon,
    trainable,
  )
}

export const activations: Record<EncoderConfig['activation'], (x: Value) => Value> = {
  gelu: o.gelu,
  gelu_tanh: (x) => o.graphFor([x]).node('Gelu', [x], { approximate: 'tanh' })[0],
  relu: o.relu,
}

/** `x·W' + b` over the last axis, plus `x·(down'·up')·alpha/rank` where it is adapted. */
export function linear(
  network: Network,
  x: Value,
  outputs: number,
  { trainable = true, adapter }: { trainable?: boolean; adapter?: { rank: number; alpha: number } } = {},
): Value {
  const inputs = Number(x.shape.at(-1))
  const weight = network.parameter('weight', [outputs, inputs], drawn, { trainable })
  const bias = network.parameter('bias', [outputs], { kind: 'zeros' }, { trainable })
  const change = adapter && network.scope('lora')
  const down = change?.parameter('down', [adapter!.rank, inputs], { kind: 'uniform', bound: 1 / Math.sqrt(inputs) })
  const up = change?.parameter('up', [outputs, adapter!.rank], { kind: 'zeros' })
  return o.within(network.graph, () => {
    const rows = x.shape.length === 2 ? x : o.reshape(x, [-1, inputs])
    let y = o.gemm(rows, weight, bias, { transB: true }) // (rows, outputs)
    if (down && up) {
      const low = o.gemm(rows, down, undefined, { transB: true })
      y = o.add(y, o.gemm(low, up, undefined, { transB: true, alpha: adapter!.alpha / adapter!.rank }))
    }
    if (x.shape.length === 2) return y
    const outer = x.shape.slice(0, -1).map((_, axis) => o.dimension(x, axis))
    return o.reshape(y, o.concat([...outer, o.ints(x, [outputs])], 0))
  })
}

export function normalised(network: Network, x: Value, epsilon: number, trainable = true): Value {
  const width = Number(x.shape.at(-1))
  const scale = network.parameter('scale', [width], { kind: 'ones' }, { trainable })
  const bias = network.parameter('bias', [width], { kind: 'zeros' }, { trainable })
  return o.within(network.graph, () => o.layerNormalization(x, scale, bias, { epsilon, statistics: network.training }))
}

type Weights = Record<string, { dims: readonly number[]; data: Float32Array }>

/** Weights with low-rank changes added to the products they belong to: `W + up·down·alpha/rank`. */
export function merged(weights: Weights, alpha: number): Weights {
  const result: Weights = {}
  for (const [name, tensor] of Object.entries(weights)) {
    if (name.includes('/lora/')) continue
    const path = name.replace(/\/weight$/, '')
    const [down, up] = [weights[`${path}/lora/down`], weights[`${path}/lora/up`]]
    result[name] = down && up && name.endsWith('/weight') ? changed(tensor, down, up, alpha) : tensor
  }
  return result
}

function changed(weight: Weights[string], down: Weights[string], up: Weights[string], alpha: number): Weights[string] {
  const [outputs, inputs] = weight.dims
  const rank = down.dims[0]
  const data = Float32Array.from(weight.data)
  for (let row = 0; row < outputs; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = (up.data[row * rank + r] * alpha) / rank
      for (let column = 0; column < inputs; column++)
        data[row * inputs + column] += factor * down.data[r * inputs + column]
    }
  }
  return { dims: weight.dims, data }
}
