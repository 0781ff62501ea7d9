import { TextCodec } from '../data/codec.ts'
import { trainBytePairs, trainCharacters } from '../data/corpus/tokenizers.ts'
import { type DecoderWeights, decoderShapes, type StoredDecoder } from '../formats/decoders/decoder.ts'
import { type GgufTensor, type GgufValue, readGguf, writeGguf } from '../formats/gguf/file.ts'
import type { DecoderConfig } from '../nn/decoder.ts'

const texts = 'the quick brown fox jumps over the lazy dog. 今天天气很好，我们去公园散步。\n'.repeat(30)

/** A decoder with made-up weights and a real tokenizer, for tests of formats and engines; small where `sizes` do not say otherwise. */
export async function smallDecoder(
  layout: DecoderConfig['layout'],
  {
    tied = layout === 'gpt',
    keyHeads = layout === 'gpt' ? 4 : 2,
    characters = false,
    width = 64,
    vocabulary = 300,
    corpus = texts,
    sizes = {} as Partial<DecoderConfig>,
  } = {},
): Promise<StoredDecoder> {
  const special = ['<|endoftext|>']
  async function* once() {
    yield corpus
  }
  const tokenizerJson = await (characters ? trainCharacters : trainBytePairs)(once(), { vocabulary, special })
  const codec = TextCodec.load(tokenizerJson)
  const config: DecoderConfig = {
    layout,
    vocabulary: codec.size,
    context: 64,
    width,
    layers: 2,
    heads: 4,
    keyHeads,
    inner: 96,
    tied,
    base: 10_000,
    epsilon: 1e-5,
    dropout: 0,
    ...sizes,
  }
  const weights: DecoderWeights = {}
  Object.entries(decoderShapes(config)).forEach(([path, dims], k) => {
    const length = dims.reduce((a, b) => a * b, 1)
    const [centre, scale] = path.endsWith('scale') ? [1, 0.2] : [0, path.startsWith('embedding') ? 0.5 : 0.15]
    // a wave whose rows differ, without a pattern that a format's order could hide
    const value = (i: number) => centre + scale * Math.sin(i * 12.9898 + k * 78.233) * Math.cos(i * 0.37 + k)
    weights[path] = { dims, data: Float32Array.from({ length }, (_, i) => value(i)) }
  })
  const end = codec.special.get('<|endoftext|>')!
  return { config, weights, tokenizerJson, generation: { context: config.context, end: [end], start: end } }
}

/** A GGUF file with sizes of its layers as lists, and tensors changed by `change`. */
export function withLayerSizes(
  bytes: Uint8Array,
  sizes: Readonly<Record<string, readonly number[]>>,
  change: (name: string, tensor: GgufTensor) => GgufTensor = (_, tensor) => tensor,
): Uint8Array {
  const { metadata, tensors } = readGguf(bytes)
  const entries = [...metadata].map(([key, value]): [string, GgufValue] => {
    if (Array.isArray(value))
      return [key, typeof value[0] === 'string' ? { kind: 'strings', value } : { kind: 'int32s', value }]
    if (typeof value === 'string') return [key, { kind: 'string', value }]
    if (typeof value === 'boolean') return [key, { kind: 'bool', value }]
    return [key, { kind: /epsilon|freq_base/.test(key) ? 'float32' : 'uint32', value: value as number }]
  })
  const lists = Object.entries(sizes).map(([key, value]) => [`llama.${key}`, { kind: 'int32s', value }] as const)
  const changed = [...tensors].map(([name, { read, ...about }]) => [name, change(name, { ...about, data: read() })])
  return writeGguf(Object.fromEntries([...entries, ...lists]), Object.fromEntries(changed))
}

/** Tensors of the second layer with fewer units between (or heads of queries, of 16 rows), as structured pruning leaves them. */
export const narrowed =
  (what: 'inner' | 'heads', rows: number) =>
  (name: string, { dims, data, type }: GgufTensor): GgufTensor => {
    const [into, from] = what === 'inner' ? [['ffn_gate', 'ffn_up'], 'ffn_down'] : [['attn_q'], 'attn_output']
    if (into.some((part) => name === `blk.1.${part}.weight`))
      return { type, dims: [rows, dims[1]], data: data.slice(0, rows * dims[1]) }
    if (name !== `blk.1.${from}.weight`) return { type, dims, data }
    const cut = Float32Array.from(
      { length: dims[0] * rows },
      (_, i) => data[Math.floor(i / rows) * dims[1] + (i % rows)],
    )
    return { type, dims: [dims[0], rows], data: cut }
  }

/** Sizes by layer: alike, and as `narrowed` leaves them; of `smallDecoder` as it is. */
export const layerSizes = {
  alike: { feed_forward_length: [96, 96], 'attention.head_count': [4, 4], 'attention.head_count_kv': [2, 2] },
  inner: { feed_forward_length: [96, 64] },
  heads: { 'attention.head_count': [4, 2] },
} as const
