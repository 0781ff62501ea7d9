import { fail } from '../base/errors.ts'
import { templateHolds } from './template.ts'

interface TokenizerJson {
  post_processor?: unknown
  model: { type?: string; vocab: Record<string, number> | [string, number][] }
  added_tokens?: { id: number; content: string; special?: boolean }[]
  decoder?: unknown
}
interface Library {
  encode(text: string, pair: null, options: { addSpecialTokens: boolean }): Promise<{ getIds(): number[] }>
  encodeBatch(texts: string[], options: { addSpecialTokens: boolean }): Promise<{ getIds(): number[] }[]>
}

/** How tokens of a vocabulary stand for bytes: GPT-2's byte alphabet, SentencePiece's marks, or the text itself. */
type Spelling = 'bytes' | 'marks' | 'text'

/**
 * Text to token ids and back, for models that write: `json` is Hugging Face's tokenizer.json. Encoding is the
 * `tokenizers` library's; back it goes by bytes, token by token, since a character may take several tokens.
 */
export class TextCodec {
  readonly json: string
  readonly size: number
  /** Ids of special tokens by their content. */
  readonly special: ReadonlyMap<string, number>
  readonly #bytes: (Uint8Array | undefined)[] = []
  #library: Promise<Library> | undefined

  private constructor(json: string) {
    this.json = json
    const file = JSON.parse(json) as TokenizerJson
    const { vocab } = file.model
    if (!templateHolds(file.post_processor)) throw new Error('tokens around texts that are not described')
    const entries: [string, number][] = Array.isArray(vocab)
      ? vocab.map(([token], id) => [token, id])
      : Object.entries(vocab)
    const spelling = spellingOf(json)
    for (const [token, id] of entries) this.#bytes[id] = bytesOf(token, spelling)
    const special = new Map<string, number>()
    for (const { id, content, special: hidden } of file.added_tokens ?? []) {
      this.#bytes[id] = hidden ? undefined : Buffer.from(content)
      if (hidden) special.set(content, id)
    }
    this.special = special
    this.size = this.#bytes.length
  }

  /** Throws BUNDLE_INVALID when this is no tokenizer.json. */
  static load(json: string): TextCodec {
    try {
      return new TextCodec(json)
    } catch (error) {
      throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json cannot be read' }, { cause: error })
    }
  }

  /** Token ids of a text, nothing added; special tokens written in it are taken as such. */
  async encode(text: string): Promise<number[]> {
    const library = await this.#open()
    return (await library.encode(text, null, { addSpecialTokens: false })).getIds()
  }

  async encodeAll(texts: readonly string[]): Promise<Int32Array[]> {
    const library = await this.#open()
    const encoded = await library.encodeBatch([...texts], { addSpecialTokens: false })
    return encoded.map((one) => Int32Array.from(one.getIds()))
  }

  /** The bytes that a token stands for; none for special tokens and unknown ids. */
  bytes(id: number): Uint8Array {
    return this.#bytes[id] ?? nothing
  }

  /** The text of some tokens; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>): string {
    return Buffer.concat(Array.from(ids, (id) => this.bytes(id))).toString('utf8')
  }

  #open(): Promise<Library> {
    this.#library ??= import('tokenizers').then(
      (library) => library.Tokenizer.fromString(this.json) as unknown as Library,
    )
    return this.#library
  }
}

const nothing = new Uint8Array()

function spellingOf(json: string): Spelling {
  if (/"type"\s*:\s*"ByteLevel"/.test(json)) return 'bytes'
  if (/"type"\s*:\s*"(Metaspace|ByteFallback)"/.test(json) || json.includes('"<0x0A>"')) return 'marks'
  return 'text'
}

function bytesOf(token: string, spelling: Spelling): Uint8Array {
  if (spelling === 'bytes') {
    const codes = Array.from(token, (character) => byteOf.get(character))
    return codes.includes(undefined) ? Buffer.from(token) : Uint8Array.from(codes as number[])
  }
  if (spelling === 'marks') {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token)
    return byte ? Uint8Array.of(Number.parseInt(byte[1], 16)) : Buffer.from(token.replaceAll('▁', ' '))
  }
  return Buffer.from(token)
}

/** GPT-2's alphabet: a visible character for every byte (Radford et al. 2019); those that are none move past U+00FF. */
export const byteAlphabet: readonly string[] = (() => {
  let moved = 0
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCodePoint(visible ? byte : 256 + moved++)
  })
})()
const byteOf = new Map(byteAlphabet.map((character, byte) => [character, byte]))
