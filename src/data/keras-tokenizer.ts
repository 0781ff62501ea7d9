import { fail } from '../base/errors.ts'
import type { Tokenizer } from './tokenizers.ts'

/** What is used of the document that Keras' `Tokenizer.to_json()` writes. */
interface KerasTokenizer {
  filters: string
  lower: boolean
  split: string
  charLevel: boolean
  numWords: number | undefined
  index: Map<string, number>
  unknown: number | undefined
}

const SIZE_LIMIT = 64 << 20

/**
 * Keras' text Tokenizer from its JSON: words (or characters) by their rank, 0 for padding. Words that are not known, or
 * of a rank from `num_words` on, are left out unless there is an out-of-vocabulary token. Throws BUNDLE_INVALID.
 */
export function kerasTokenizer(json: string): Tokenizer {
  const tokenizer = parse(json)
  const size = Math.max(0, ...tokenizer.index.values()) + 1
  return {
    size: tokenizer.numWords === undefined ? size : Math.min(size, tokenizer.numWords),
    json,
    raw: true,
    encode: async (texts) => texts.map((text) => Int32Array.from(ids(tokenizer, text))),
  }
}

function* ids({ index, unknown, numWords, ...how }: KerasTokenizer, text: string): Generator<number> {
  for (const token of cut(text, how)) {
    const id = index.get(token)
    if (id !== undefined && (numWords === undefined || id < numWords)) yield id
    else if (unknown !== undefined) yield unknown
  }
}

function cut(
  text: string,
  { filters, lower, split, charLevel }: Omit<KerasTokenizer, 'index' | 'unknown' | 'numWords'>,
) {
  const cased = lower ? text.toLowerCase() : text
  if (charLevel) return cased // filters are for words alone
  const removed = new Set(filters)
  const spaced = Array.from(cased, (character) => (removed.has(character) ? split : character)).join('')
  return spaced.split(split).filter((token) => token !== '')
}

function parse(json: string): KerasTokenizer {
  const invalid = (cause?: unknown) =>
    fail('BUNDLE_INVALID', { reason: 'the Keras tokenizer cannot be read' }, { cause })
  if (json.length > SIZE_LIMIT) throw invalid()
  try {
    const { class_name, config } = JSON.parse(json) as { class_name: string; config: Record<string, unknown> }
    if (class_name !== 'Tokenizer' || typeof config.word_index !== 'string') throw invalid()
    // Keras keeps the index as a JSON text within the JSON document
    const index = new Map(Object.entries(JSON.parse(config.word_index) as Record<string, number>))
    for (const id of index.values()) if (!Number.isSafeInteger(id) || id < 1 || id > 2 ** 31 - 1) throw invalid()
    const oov = config.oov_token
    return {
      filters: String(config.filters ?? ''),
      lower: config.lower !== false,
      split: String(config.split ?? ' ') || ' ',
      charLevel: config.char_level === true,
      numWords: typeof config.num_words === 'number' ? config.num_words : undefined,
      index,
      unknown: typeof oov === 'string' ? index.get(oov) : undefined,
    }
  } catch (error) {
    throw invalid(error)
  }
}
