import { fail } from '../../base/errors.ts'
import type { GenerationConfig } from '../../data/generation.ts'
import type { GgufValue } from './file.ts'

interface TokenizerJson {
  model: { type: string; vocab: Record<string, number>; merges?: ([string, string] | string)[]; unk_token?: string }
  added_tokens?: { id: number; content: string; special?: boolean }[]
  pre_tokenizer?: unknown
}

/** llama.cpp's kinds of tokens. */
const [NORMAL, UNKNOWN, CONTROL, UNUSED] = [1, 2, 3, 5]
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }

/**
 * The tokenizer as llama.cpp's metadata: byte-level pairs as its kind `gpt2`; single characters as its kind `llama`, whose
 * pieces are never joined when no longer one is known. Throws UNSUPPORTED for others.
 */
export function tokenizerEntries(
  json: string,
  { end, start, chatTemplate }: GenerationConfig,
  vocabulary: number,
): Record<string, GgufValue> {
  const file = JSON.parse(json) as TokenizerJson
  const { model, added_tokens: added = [] } = file
  const characters = model.type === 'WordLevel' && Object.keys(model.vocab).every((token) => isPlain(token, added))
  const pairs = model.type === 'BPE' && JSON.stringify(file.pre_tokenizer ?? {}).includes('"ByteLevel"')
  if (!characters && !pairs)
    throw fail('UNSUPPORTED', {
      what: `GGUF with a tokenizer of the kind ${model.type}`,
      instead: 'Byte-level pairs and single characters are written.',
    })
  const tokens = Array.from({ length: vocabulary }, (_, id) => `[unused${id}]`)
  const kinds = tokens.map(() => UNUSED)
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = characters ? token.replaceAll(' ', '▁') : token
    kinds[id] = NORMAL
  }
  for (const { id, content, special } of added) {
    tokens[id] = content
    if (special) kinds[id] = content === model.unk_token ? UNKNOWN : CONTROL
  }
  const unknown = characters ? tokens.indexOf(String(model.unk_token)) : -1
  const u32 = (value: number): GgufValue => ({ kind: 'uint32', value })
  return {
    'tokenizer.ggml.model': { kind: 'string', value: characters ? 'llama' : 'gpt2' },
    ...(!characters && { 'tokenizer.ggml.pre': { kind: 'string', value: 'gpt-2' } as const }),
    'tokenizer.ggml.tokens': { kind: 'strings', value: tokens },
    'tokenizer.ggml.token_type': { kind: 'int32s', value: kinds },
    ...(characters && {
      'tokenizer.ggml.scores': { kind: 'float32s', value: tokens.map(() => 0) } as const,
      'tokenizer.ggml.unknown_token_id': u32(Math.max(0, unknown)),
    }),
    ...(!characters && {
      'tokenizer.ggml.merges': {
        kind: 'strings',
        value: (model.merges ?? []).map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
      } as const,
    }),
    ...(end.length > 0 && { 'tokenizer.ggml.eos_token_id': u32(end[0]) }),
    ...(start !== undefined && { 'tokenizer.ggml.bos_token_id': u32(start) }),
    'tokenizer.ggml.add_bos_token': { kind: 'bool', value: false },
    'tokenizer.ggml.add_eos_token': { kind: 'bool', value: false },
    'tokenizer.ggml.add_space_prefix': { kind: 'bool', value: false },
    ...(chatTemplate !== undefined && { 'tokenizer.chat_template': { kind: 'string', value: chatTemplate } as const }),
  }
}

const isPlain = (token: string, added: NonNullable<TokenizerJson['added_tokens']>) =>
  [...token].length === 1 || added.some(({ content }) => content === token)

/** A tokenizer.json of llama.cpp's metadata, of its kind `gpt2`; throws UNSUPPORTED for others. */
export function tokenizerFrom(
  metadata: ReadonlyMap<string, unknown>,
  context: number,
): { json: string; generation: GenerationConfig } {
  const kind = metadata.get('tokenizer.ggml.model')
  const tokens = metadata.get('tokenizer.ggml.tokens') as string[]
  const merges = metadata.get('tokenizer.ggml.merges')
  if (kind !== 'gpt2' || !Array.isArray(merges))
    throw fail('UNSUPPORTED', {
      what: `going on from a GGUF file with a tokenizer of the kind ${String(kind).slice(0, 40)}`,
      instead: 'Byte-level pairs (gpt2) are read.',
    })
  const kinds = (metadata.get('tokenizer.ggml.token_type') ?? []) as number[]
  const added_tokens = tokens.flatMap((content, id) =>
    kinds[id] === CONTROL
      ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }]
      : [],
  )
  const vocab = Object.fromEntries(tokens.flatMap((token, id) => (kinds[id] === UNUSED ? [] : [[token, id] as const])))
  const json = JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens,
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merges.map((pair) => String(pair).split(' ')),
    },
  })
  const id = (key: string) => {
    const value = metadata.get(`tokenizer.ggml.${key}`)
    return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined
  }
  const [end, turn, start] = [id('eos_token_id'), id('eot_token_id'), id('bos_token_id')]
  const template = metadata.get('tokenizer.chat_template')
  return {
    json,
    generation: {
      context,
      end: [end, turn].filter((one) => one !== undefined),
      ...(start !== undefined && { start }),
      ...(typeof template === 'string' && { chatTemplate: template }),
    },
  }
}
