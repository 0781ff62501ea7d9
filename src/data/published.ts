import { fail } from '../base/errors.ts'
import { templateHolds } from './template.ts'
import type { Tokenizer } from './tokenizers.ts'

/** A text cut into tokens, and where each stands in it. */
export interface Spans {
  readonly ids: Int32Array
  /** UTF-16 units at which each token begins and ends; equal for tokens that the tokenizer adds. */
  readonly starts: Int32Array
  readonly ends: Int32Array
  /** The word that each token is of, by the tokenizer's own cutting; -1 for tokens that it adds. */
  readonly words: Int32Array
}

interface Encoding {
  getIds(): number[]
  getOffsets(): number[][]
  getWordIds(): (number | undefined | null)[]
  getSpecialTokensMask(): number[]
}
interface Library {
  encode(text: string, pair: string): Promise<Encoding>
  encodeBatch(texts: string[]): Promise<Encoding[]>
  decode(ids: number[], skipSpecial: boolean): Promise<string>
  setTruncation(length: number): void
  idToToken(id: number): string | null
}
interface TokenizerJson {
  truncation: unknown
  padding: unknown
  post_processor?: unknown
  added_tokens?: { id: number; content: string; special?: boolean }[]
  model: { type?: string; vocab: Record<string, number> | [string, number][] }
}

const kinds = ['WordPiece', 'BPE', 'Unigram', 'WordLevel']
/** UTF-16 units read of a text for each token that is kept: more than words have. */
const UNITS_A_TOKEN = 64

/**
 * A tokenizer that came with a published model: Hugging Face's tokenizer.json (WordPiece, BPE or Unigram), run by the
 * `tokenizers` library with its own normalisation and with the tokens it puts around a text.
 */
export class PublishedTokenizer implements Tokenizer {
  readonly json: string
  readonly size: number
  readonly #maxLength: number
  readonly #added: readonly { id: number; content: string }[]
  #library: Promise<Library> | undefined

  /** Throws BUNDLE_INVALID when this is no such file. */
  constructor(json: string, { maxLength }: { maxLength: number }) {
    const file = parse(json)
    this.json = json
    this.#maxLength = maxLength
    this.#added = file.added_tokens ?? []
    const ids = Array.isArray(file.model.vocab) ? [file.model.vocab.length - 1] : Object.values(file.model.vocab)
    const largest = [...ids, ...this.#added.map(({ id }) => id)].reduce((most, id) => Math.max(most, id), 0)
    this.size = largest + 1
  }

  /** The token that stands for a word to be guessed. */
  get mask(): { id: number; content: string } | undefined {
    return this.#added.find(({ content }) => content === '[MASK]' || content === '<mask>')
  }

  /** The token that ends a text. */
  get separator(): number | undefined {
    return this.#added.find(({ content }) => content === '[SEP]' || content === '</s>')?.id
  }

  /** Ids of tokens that are no part of any text. */
  get special(): ReadonlySet<number> {
    return new Set(this.#added.map(({ id }) => id))
  }

  /** With `pairs`, second texts by the same places: both together are cut, the longer first. */
  async encode(texts: readonly string[], pairs: readonly (string | undefined)[] = []): Promise<Int32Array[]> {
    return (await this.#encodings(texts, pairs)).map((encoding) => Int32Array.from(encoding.getIds()))
  }

  async spans(texts: readonly string[]): Promise<Spans[]> {
    return (await this.#encodings(texts)).map((encoding, i) => {
      const offsets = encoding.getOffsets()
      const special = encoding.getSpecialTokensMask()
      const unit = unitsOf(texts[i])
      return {
        ids: Int32Array.from(encoding.getIds()),
        starts: Int32Array.from(offsets, ([start]) => unit(start)),
        ends: Int32Array.from(offsets, ([, end]) => unit(end)),
        words: Int32Array.from(encoding.getWordIds(), (word, t) => (special[t] ? -1 : (word ?? -1))),
      }
    })
  }

  /** The text of one token. */
  async decode(id: number): Promise<string> {
    const library = await this.#open()
    const text = (await library.decode([id], false)).trim()
    return text || (library.idToToken(id) ?? '')
  }

  async #encodings(texts: readonly string[], pairs: readonly (string | undefined)[] = []): Promise<Encoding[]> {
    if (texts.length === 0) return []
    const library = await this.#open()
    const short = (text: string) => text.slice(0, this.#maxLength * UNITS_A_TOKEN)
    const cut = texts.map(short)
    const one = async (text: string) => (await library.encodeBatch([text]))[0]
    // the library's batches end the process where they hold pairs
    const encodings = pairs.some((pair) => pair !== undefined)
      ? Promise.all(cut.map((text, i) => (pairs[i] === undefined ? one(text) : library.encode(text, short(pairs[i])))))
      : library.encodeBatch(cut)
    return encodings.catch((error: unknown) => {
      throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json cannot cut a text' }, { cause: error })
    })
  }

  #open(): Promise<Library> {
    this.#library ??= import('tokenizers').then(({ Tokenizer }) => {
      // lengths are ours to decide: a file may cut and fill texts as it was last used
      const file = { ...parse(this.json), truncation: null, padding: null }
      try {
        const library = Tokenizer.fromString(JSON.stringify(file)) as unknown as Library
        library.setTruncation(this.#maxLength)
        return library
      } catch (error) {
        throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json cannot be run' }, { cause: error })
      }
    })
    return this.#library
  }
}

function parse(json: string): TokenizerJson {
  let file: TokenizerJson | undefined
  try {
    file = JSON.parse(json) as TokenizerJson
  } catch {
    // told below
  }
  const { type, vocab } = file?.model ?? {}
  // files of early libraries do not name their kind
  if (!file || typeof vocab !== 'object' || vocab === null || (type !== undefined && !kinds.includes(type)))
    throw fail('BUNDLE_INVALID', { reason: `tokenizer.json is none of ${kinds.join(', ')}` })
  if (!templateHolds(file.post_processor))
    throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json puts tokens around texts that it does not describe' })
  return file
}

/** From places counted in characters to places counted in UTF-16 units. */
function unitsOf(text: string): (character: number) => number {
  // only characters beyond the basic plane take two units
  if (!/[\ud800-\udbff]/.test(text)) return (character) => character
  const units = [0]
  for (const character of text) units.push(units.at(-1)! + character.length)
  return (character) => units[Math.min(character, units.length - 1)]
}
