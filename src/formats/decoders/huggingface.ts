import { fail } from '../../base/errors.ts'
import { TextCodec } from '../../data/codec.ts'
import { writeModel } from '../../graph/codec.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import { type DecoderConfig, decoderGraph } from '../../nn/decoder.ts'
import { headSizeOf } from '../../nn/layers.ts'
import { floatsOf, readSafetensors, writeSafetensors } from '../safetensors.ts'
import { withWholeHeads } from '../whole-heads.ts'
import { type DecoderWeights, decoderShapes, type StoredDecoder, specialTokens } from './decoder.ts'
import { publishedDecoderName, turned } from './names.ts'

const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'Hugging Face', reason })
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`

/**
 * The files of a folder that transformers and transformers.js load a decoder from, by their paths in it: GPT-2's or Llama's
 * layout, weights once as safetensors and once in an ONNX graph.
 */
export function writeDecoderFolder(decoder: StoredDecoder): Record<string, Uint8Array | string> {
  const { config, weights, tokenizerJson, generation } = decoder.config.layout === 'gpt' ? asGpt(decoder) : decoder
  const { end, start } = specialTokens(decoder)
  const tensors = Object.keys(decoderShapes(config)).map((path): [string, Tensor] => {
    const { dims, data } = weights[path]
    const { name, turned: flip } = publishedDecoderName(path, config.layout)
    return [name, flip ? float32([dims[1], dims[0]], turned(data, dims[0], dims[1])) : float32(dims, data)]
  })
  const ids = { bos_token_id: generation.start ?? null, eos_token_id: oneOrMore(generation.end) }
  return {
    'config.json': json({ ...publishedConfig(config), ...ids, torch_dtype: 'float32' }),
    'generation_config.json': json(ids),
    'model.safetensors': writeSafetensors(tensors, { format: 'pt' }),
    'onnx/model.onnx': writeModel(decoderGraph(config, weights, { lastOnly: false })),
    'tokenizer.json': tokenizerJson,
    'tokenizer_config.json': json({
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: config.context,
      clean_up_tokenization_spaces: false,
      ...(end !== undefined && { eos_token: end }),
      ...(start !== undefined && { bos_token: start }),
      ...(generation.chatTemplate !== undefined && { chat_template: generation.chatTemplate }),
    }),
  }
}

/** Heads of GPT-2 make up its width, each with keys of its own. */
function asGpt(decoder: StoredDecoder): StoredDecoder {
  const whole = withWholeHeads(decoder)
  return { ...whole, config: { ...whole.config, keyHeads: whole.config.heads } }
}

const oneOrMore = (ids: readonly number[]) => (ids.length === 0 ? null : ids.length === 1 ? ids[0] : [...ids])

function publishedConfig(config: DecoderConfig) {
  const { vocabulary, context, width, layers, heads, keyHeads, inner, tied, base, epsilon } = config
  if (config.layout === 'gpt') {
    return {
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      vocab_size: vocabulary,
      n_positions: context,
      n_embd: width,
      n_layer: layers,
      n_head: heads,
      n_inner: inner,
      activation_function: 'gelu_new',
      layer_norm_epsilon: epsilon,
      tie_word_embeddings: tied,
      resid_pdrop: 0,
      embd_pdrop: 0,
      attn_pdrop: 0,
    }
  }
  return {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: vocabulary,
    max_position_embeddings: context,
    hidden_size: width,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyHeads,
    head_dim: headSizeOf(config),
    intermediate_size: inner,
    hidden_act: 'silu',
    rms_norm_eps: epsilon,
    rope_theta: base,
    tie_word_embeddings: tied,
    attention_bias: false,
    mlp_bias: false,
  }
}

/** Files of a folder by name; undefined for those that are not there. */
export type ReadFolderFile = (name: string) => Uint8Array | undefined

/**
 * Reads the folder of a published GPT-2 or Llama decoder: config.json, tokenizer.json and model.safetensors, whole or in
 * shards. Throws FORMAT_INVALID for what is missing or does not fit, UNSUPPORTED for what our layouts do not express.
 */
export function readDecoderFolder(read: ReadFolderFile): StoredDecoder {
  const given = record(read, 'config.json')
  if (!given) throw invalid('there is no config.json')
  const config = decoderConfig(given)
  const tokenizer = read('tokenizer.json')
  if (!tokenizer)
    throw invalid('there is no tokenizer.json; save it with AutoTokenizer.from_pretrained(…).save_pretrained(…)')
  const tokenizerJson = new TextDecoder().decode(tokenizer)
  const { size, special } = TextCodec.load(tokenizerJson)
  if (size > config.vocabulary)
    throw invalid(`tokenizer.json has ${size} tokens, the model's vocabulary ${config.vocabulary}`)
  const { weights, tied } = take(tensorsOf(read), config)
  return {
    config: { ...config, tied },
    weights,
    tokenizerJson,
    generation: generationOf(read, given, config, special),
  }
}

function record(read: ReadFolderFile, name: string): Record<string, unknown> | undefined {
  const bytes = read(name)
  if (!bytes) return undefined
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // told below
  }
  throw invalid(`${name} is not a JSON object`)
}

function decoderConfig(given: Record<string, unknown>): DecoderConfig {
  const type = String(given.model_type)
  const refuse = (what: string) =>
    fail('UNSUPPORTED', { what: `a ${type} model with ${what}`, instead: 'Plain GPT-2 and Llama layouts are read.' })
  const size = (key: string, otherwise?: number): number => {
    const value = given[key] ?? otherwise
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > 2 ** 24)
      throw invalid(`config.json: ${key} is not a size`)
    return value
  }
  const real = (key: string, otherwise: number): number => {
    const value = given[key] ?? otherwise
    if (typeof value !== 'number' || !(value > 0)) throw invalid(`config.json: ${key} is not a positive number`)
    return value
  }
  const common = { dropout: 0, tied: given.tie_word_embeddings !== false }
  let config: DecoderConfig
  if (type === 'gpt2') {
    if (!['gelu_new', 'gelu_pytorch_tanh', undefined].includes(given.activation_function as string))
      throw refuse(`the activation ${String(given.activation_function).slice(0, 40)}`)
    if (given.scale_attn_by_inverse_layer_idx === true || given.scale_attn_weights === false)
      throw refuse('attention scaled otherwise')
    const [width, heads] = [size('n_embd'), size('n_head')]
    config = {
      ...common,
      layout: 'gpt',
      vocabulary: size('vocab_size'),
      context: size('n_positions', 1024),
      width,
      layers: size('n_layer'),
      heads,
      keyHeads: heads,
      inner: size('n_inner', 4 * width),
      base: 10_000,
      epsilon: real('layer_norm_epsilon', 1e-5),
    }
  } else if (type === 'llama') {
    const rope = (given.rope_scaling ?? given.rope_parameters) as Record<string, unknown> | null | undefined
    const kind = rope?.rope_type ?? rope?.type
    if (kind !== undefined && kind !== 'default') throw refuse(`the ${String(kind).slice(0, 40)} scaling of positions`)
    if (!['silu', 'swish', undefined].includes(given.hidden_act as string))
      throw refuse(`the activation ${String(given.hidden_act).slice(0, 40)}`)
    if (given.attention_bias === true || given.mlp_bias === true) throw refuse('biases')
    const [width, heads] = [size('hidden_size'), size('num_attention_heads')]
    const headSize = size('head_dim', width / heads)
    config = {
      ...common,
      tied: given.tie_word_embeddings === true,
      layout: 'llama',
      vocabulary: size('vocab_size'),
      context: size('max_position_embeddings', 2048),
      width,
      layers: size('num_hidden_layers'),
      heads,
      ...(headSize * heads !== width && { headSize }),
      keyHeads: size('num_key_value_heads', heads),
      inner: size('intermediate_size'),
      base: typeof rope?.rope_theta === 'number' ? rope.rope_theta : real('rope_theta', 10_000),
      epsilon: real('rms_norm_eps', 1e-6),
    }
  } else throw refuse('this layout')
  if (!Number.isInteger(headSizeOf(config)) || config.heads % config.keyHeads !== 0)
    throw invalid(`config.json: ${config.heads} heads, ${config.keyHeads} for keys, do not divide ${config.width}`)
  return config
}

const SHARDS = 1000

function tensorsOf(read: ReadFolderFile): Map<string, Tensor> {
  const single = read('model.safetensors')
  if (single) return readSafetensors(single).tensors
  const index = record(read, 'model.safetensors.index.json')
  if (!index) throw invalid('it has no model.safetensors; pickled weights are never read')
  const names = new Set(Object.values((index.weight_map ?? {}) as Record<string, unknown>).map(String))
  if (names.size === 0 || names.size > SHARDS) throw invalid('model.safetensors.index.json names no shards')
  const all = new Map<string, Tensor>()
  for (const name of names) {
    const shard = /^[\w.-]+\.safetensors$/.test(name) ? read(name) : undefined
    if (!shard) throw invalid(`the shard ${name.slice(0, 80)} is missing`)
    for (const [key, tensor] of readSafetensors(shard).tensors) all.set(key, tensor)
  }
  return all
}

/** The weights by our paths. A head that is not stored is the embedding table itself. */
function take(tensors: Map<string, Tensor>, config: DecoderConfig): { weights: DecoderWeights; tied: boolean } {
  const find = (name: string) => tensors.get(name) ?? tensors.get(name.replace(/^(transformer|model)\./, ''))
  const tied = config.tied || !tensors.has('lm_head.weight')
  const weights: DecoderWeights = {}
  for (const [path, dims] of Object.entries(decoderShapes({ ...config, tied }))) {
    const { name, turned: flip } = publishedDecoderName(path, config.layout)
    const tensor = find(name)
    if (!tensor) throw invalid(`the tensor ${name} is missing`)
    const wanted = flip ? [...dims].reverse() : dims
    if (tensor.dims.length !== wanted.length || tensor.dims.some((dim, i) => dim !== wanted[i]))
      throw invalid(`the tensor ${name} is of shape [${tensor.dims}], not [${wanted}]`)
    const data = floatsOf(tensor, name)
    weights[path] = { dims, data: flip ? turned(data, wanted[0], wanted[1]) : data }
  }
  return { weights, tied }
}

function generationOf(
  read: ReadFolderFile,
  given: Record<string, unknown>,
  { context }: DecoderConfig,
  special: ReadonlyMap<string, number>,
): StoredDecoder['generation'] {
  const settings = record(read, 'generation_config.json') ?? {}
  const tokens = record(read, 'tokenizer_config.json') ?? {}
  const ids = (value: unknown) => [value].flat().filter((id): id is number => Number.isSafeInteger(id))
  const named = (value: unknown) => {
    const content = typeof value === 'string' ? value : (value as { content?: string } | null)?.content
    return content === undefined ? [] : ids(special.get(content))
  }
  const end = new Set([...ids(settings.eos_token_id ?? given.eos_token_id), ...named(tokens.eos_token)])
  const [start] = [...ids(settings.bos_token_id ?? given.bos_token_id), ...named(tokens.bos_token)]
  const template = read('chat_template.jinja')
  const chatTemplate = template
    ? new TextDecoder().decode(template)
    : typeof tokens.chat_template === 'string'
      ? tokens.chat_template
      : undefined
  return {
    context,
    end: [...end],
    ...(start !== undefined && { start }),
    ...(chatTemplate !== undefined && { chatTemplate }),
  }
}
