import { fail } from '../../base/errors.ts'

interface Tokenizer {
  decoder?: { type?: unknown; pad_token?: unknown } | null
  added_tokens?: { content?: unknown; special?: unknown }[]
}

/**
 * The `tokenizer.json` of a speech model by CTC, in which the blank is no special token; any other as it is. The library leaves out
 * special tokens before it makes one of equal neighbours, and the blank between them is what makes two letters of two. Throws
 * MODEL_INVALID.
 */
export function keepBlank(text: string): string {
  const tokenizer = parse(text)
  const { decoder, added_tokens: added } = tokenizer ?? {}
  if (decoder?.type !== 'CTC' || !Array.isArray(added)) return text
  const kept = added.map((token) => (token?.content === decoder.pad_token ? { ...token, special: false } : token))
  return JSON.stringify({ ...tokenizer, added_tokens: kept })
}

function parse(text: string): Tokenizer | null {
  try {
    return JSON.parse(text) as Tokenizer | null
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'tokenizer.json is not JSON' }, { cause: error })
  }
}
