import { fail } from '../../base/errors.ts'
import { TextCodec } from '../../data/codec.ts'
import type { DecoderConfig } from '../../nn/decoder.ts'
import { headSizeOf } from '../../nn/layers.ts'
import { type DecoderWeights, decoderShapes, type StoredDecoder } from '../decoders/decoder.ts'
import { type BlockName, blockTypes } from './blocks.ts'
import { type GgufTensor, type GgufValue, readGguf, writeGguf } from './file.ts'
import { withoutLists } from './layers.ts'
import { tokenizerEntries, tokenizerFrom } from './tokenizer.ts'

const parts: Record<string, string> = {
  'attention/scale': 'attn_norm',
  'attention/query/weight': 'attn_q',
  'attention/key/weight': 'attn_k',
  'attention/value/weight': 'attn_v',
  'attention/out/weight': 'attn_output',
  'feedForward/scale': 'ffn_norm',
  'feedForward/gate/weight': 'ffn_gate',
  'feedForward/up/weight': 'ffn_up',
  'feedForward/down/weight': 'ffn_down',
}
const whole: Record<string, string> = {
  'embedding/weight': 'token_embd.weight',
  'last/scale': 'output_norm.weight',
  'head/weight': 'output.weight',
}
/** `layer.3/attention/query/weight` → `blk.3.attn_q.weight`. */
function ggufName(path: string): string {
  const [, layer, part] = /^layer\.(\d+)\/(.+)$/.exec(path) ?? []
  return whole[path] ?? `blk.${layer}.${parts[part]}.weight`
}

/** llama.cpp's numbers for files whose matrices are mostly of one type. */
const fileTypes: Record<BlockName, number> = { f32: 0, f16: 1, q4_0: 2, q8_0: 7 }

/**
 * A decoder of the Llama layout as a GGUF file for llama.cpp. Vectors stay float32; a matrix whose rows are no multiple of a
 * block is stored as f16. Throws UNSUPPORTED for GPT-2's layout and tokenizers that llama.cpp has no kind for.
 */
export function writeLlamaGguf(decoder: StoredDecoder, name: string, type: BlockName): Uint8Array {
  const { config, weights, generation } = decoder
  if (config.layout !== 'llama')
    throw fail('UNSUPPORTED', {
      what: 'GGUF for the GPT-2 layout',
      instead: 'Train with --family llama, or export to safetensors.',
    })
  const { vocabulary, context, width, layers, heads, keyHeads, inner, base, epsilon } = config
  const size = headSizeOf(config)
  const u32 = (value: number): GgufValue => ({ kind: 'uint32', value })
  const metadata: Record<string, GgufValue> = {
    'general.architecture': { kind: 'string', value: 'llama' },
    'general.name': { kind: 'string', value: name },
    'general.file_type': u32(fileTypes[type]),
    'llama.vocab_size': u32(vocabulary),
    'llama.context_length': u32(context),
    'llama.embedding_length': u32(width),
    'llama.block_count': u32(layers),
    'llama.feed_forward_length': u32(inner),
    'llama.attention.head_count': u32(heads),
    'llama.attention.head_count_kv': u32(keyHeads),
    'llama.attention.layer_norm_rms_epsilon': { kind: 'float32', value: epsilon },
    // llama.cpp divides the width by the heads where it is not told how large a head is
    ...(size * heads !== width && {
      'llama.attention.key_length': u32(size),
      'llama.attention.value_length': u32(size),
    }),
    'llama.rope.dimension_count': u32(size),
    'llama.rope.freq_base': { kind: 'float32', value: base },
    ...tokenizerEntries(decoder.tokenizerJson, generation, vocabulary),
  }
  const tensors: Record<string, GgufTensor> = {}
  for (const path of Object.keys(decoderShapes(config))) {
    const { dims, data } = weights[path]
    const matrix = dims.length > 1
    const fits = dims.at(-1)! % blockTypes[type].elements === 0
    tensors[ggufName(path)] = {
      dims,
      type: !matrix ? 'f32' : fits ? type : 'f16',
      data: turnsHeads(path) ? paired(data, dims, headsOf(path, config)) : data,
    }
  }
  return writeGguf(metadata, tensors)
}

const turnsHeads = (path: string) => /attention\/(query|key)\/weight$/.test(path)
const headsOf = (path: string, { heads, keyHeads }: DecoderConfig) => (path.includes('/key/') ? keyHeads : heads)

/**
 * llama.cpp turns neighbouring elements of a head by one angle, Hugging Face's layout elements half a head apart: row
 * 2i + j of a head there is row j · half + i here.
 */
function paired(data: Float32Array, [outputs, inputs]: readonly number[], heads: number, back = false): Float32Array {
  const size = outputs / heads
  const result = new Float32Array(data.length)
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < size / 2; i++) {
      for (let j = 0; j < 2; j++) {
        const [there, here] = [head * size + 2 * i + j, head * size + (j * size) / 2 + i]
        const [to, from] = back ? [here, there] : [there, here]
        result.set(data.subarray(from * inputs, (from + 1) * inputs), to * inputs)
      }
    }
  }
  return result
}

/**
 * A GGUF file of the Llama layout as a decoder that can be served and trained on. Throws FORMAT_INVALID for what is missing or
 * does not fit, UNSUPPORTED for other architectures and tokenizers.
 */
export function readLlamaGguf(bytes: Uint8Array): StoredDecoder {
  const { metadata: given, tensors } = readGguf(bytes)
  const metadata = withoutLists(given)
  const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'GGUF', reason })
  const architecture = metadata.get('general.architecture')
  if (architecture !== 'llama')
    throw fail('UNSUPPORTED', {
      what: `going on from a GGUF file of the architecture ${String(architecture).slice(0, 40)}`,
      instead: 'The Llama layout is read.',
    })
  for (const key of metadata.keys())
    if (key.startsWith('llama.rope.scaling.type') && metadata.get(key) !== 'none')
      throw fail('UNSUPPORTED', { what: 'scaled positions', instead: 'Plain Llama layouts are read.' })
  const size = (key: string, otherwise?: number) => {
    const value = metadata.get(`llama.${key}`) ?? otherwise
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > 2 ** 24)
      throw invalid(`llama.${key} is not a size`)
    return value
  }
  const tokens = metadata.get('tokenizer.ggml.tokens')
  if (!Array.isArray(tokens)) throw invalid('no tokenizer.ggml.tokens')
  const heads = size('attention.head_count')
  const width = size('embedding_length')
  const headSize = size('attention.key_length', width / heads)
  if (size('attention.value_length', headSize) !== headSize)
    throw invalid('its heads have keys and values of unlike sizes')
  const config: DecoderConfig = {
    layout: 'llama',
    vocabulary: size('vocab_size', tokens.length),
    context: size('context_length'),
    width,
    layers: size('block_count'),
    heads,
    ...(headSize * heads !== width && { headSize }),
    keyHeads: size('attention.head_count_kv', heads),
    inner: size('feed_forward_length'),
    tied: !tensors.has('output.weight'),
    base: Number(metadata.get('llama.rope.freq_base') ?? 10_000),
    epsilon: Number(metadata.get('llama.attention.layer_norm_rms_epsilon') ?? 1e-5),
    dropout: 0,
  }
  if (!Number.isInteger(headSize / 2) || heads % config.keyHeads !== 0)
    throw invalid('its heads do not divide its width')
  const weights: DecoderWeights = {}
  for (const [path, dims] of Object.entries(decoderShapes(config))) {
    const tensor = tensors.get(ggufName(path))
    if (!tensor) throw invalid(`the tensor ${ggufName(path)} is missing`)
    if (tensor.dims.length !== dims.length || tensor.dims.some((dim, i) => dim !== dims[i]))
      throw invalid(`the tensor ${ggufName(path)} is of shape [${tensor.dims}], not [${dims}]`)
    const data = tensor.read()
    weights[path] = { dims, data: turnsHeads(path) ? paired(data, dims, headsOf(path, config), true) : data }
  }
  const { json, generation } = tokenizerFrom(metadata, config.context)
  const { size: known } = TextCodec.load(json)
  if (known > config.vocabulary) throw invalid(`${known} tokens for a vocabulary of ${config.vocabulary}`)
  return { config, weights, tokenizerJson: json, generation }
}
