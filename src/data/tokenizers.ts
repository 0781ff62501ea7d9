import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/** Cuts normalised texts into ids; 0 is padding, 1 an unknown token. `json` is Hugging Face's tokenizer.json. */
export interface Tokenizer {
  readonly size: number
  readonly json: string
  /** Whether texts are cut as they came, not normalised; a text without tokens is then padding alone. */
  readonly raw?: boolean
  encode(texts: readonly string[], pairs?: readonly (string | undefined)[]): Promise<Int32Array[]>
}
interface Kind {
  train(texts: AsyncIterable<string>, limits: { vocabulary: number; minimumCount: number }): Promise<Tokenizer>
  load(json: string, limits: { vocabulary: number }): Tokenizer
}

const PADDING = '[PAD]'
const UNKNOWN = '[UNK]'
const special = [PADDING, UNKNOWN].map((content, id) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
}))

interface TokenizerFile {
  model: { vocab: Record<string, number>; merges?: [string, string][]; [key: string]: unknown }
  added_tokens: typeof special
  [key: string]: unknown
}

/** Different tokens that are counted at once, at most. */
const COUNTED = 4_000_000

/** How often tokens occur; when over `most` differ, the rarest are forgotten, as in lossy counting (Manku and Motwani 2002). */
export async function countTokens(
  texts: AsyncIterable<string>,
  cut: (text: string) => Iterable<string>,
  most = COUNTED,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  let rarest = 0
  for await (const text of texts) {
    for (const token of cut(text)) counts.set(token, (counts.get(token) ?? 0) + 1)
    for (let left = most; counts.size > left; left = most / 2) {
      rarest++
      for (const [token, count] of counts) if (count <= rarest) counts.delete(token)
    }
  }
  return counts
}

/** A vocabulary of whole tokens by frequency; `cut` is how a text becomes tokens. */
function wordLevel(cut: (text: string) => Iterable<string>, preTokenizer: object): Kind {
  const fromVocabulary = (vocab: Record<string, number>, json: string): Tokenizer => {
    const ids = new Map(Object.entries(vocab))
    return {
      size: ids.size,
      json,
      encode: async (texts) => texts.map((text) => Int32Array.from(cut(text), (token) => ids.get(token) ?? 1)),
    }
  }
  return {
    async train(texts, { vocabulary, minimumCount }) {
      const counts = await countTokens(texts, cut)
      const tokens = [...counts]
        .filter(([token, count]) => count >= minimumCount && token !== PADDING && token !== UNKNOWN)
        .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)) // ties by code unit: the same on every machine
        .slice(0, vocabulary - 2)
        .map(([token]) => token)
      const vocab = Object.fromEntries([PADDING, UNKNOWN, ...tokens].map((token, id) => [token, id]))
      const file: TokenizerFile = {
        version: '1.0',
        truncation: null,
        padding: null,
        added_tokens: special,
        normalizer: null,
        pre_tokenizer: preTokenizer,
        post_processor: null,
        decoder: null,
        model: { type: 'WordLevel', vocab, unk_token: UNKNOWN },
      }
      return fromVocabulary(vocab, JSON.stringify(file))
    },
    load: (json) => fromVocabulary((JSON.parse(json) as TokenizerFile).model.vocab, json),
  }
}

/** One token a Unicode character. */
export const characters = wordLevel((text) => text, {
  type: 'Split',
  pattern: { Regex: '[\\s\\S]' },
  behavior: 'Isolated',
  invert: false,
})

const segmenter = new Intl.Segmenter('zh', { granularity: 'word' })

function* wordsOf(text: string): Generator<string> {
  for (const { segment } of segmenter.segment(text)) if (segment.trim() !== '') yield segment
}

/**
 * Words by Unicode's rules and ICU's Chinese and Japanese dictionaries. Libraries that lack them can use tokenizer.json
 * on texts whose words are separated by blanks.
 */
export const words = wordLevel(wordsOf, { type: 'WhitespaceSplit' })

/** A text's words and then its characters: n-grams tell of phrases, and of what words that were never met are made of. */
export const both = wordLevel(
  function* (text) {
    yield* wordsOf(text)
    yield* text
  },
  { type: 'WhitespaceSplit' },
)

/** Byte-level byte pair encoding (Sennrich et al. 2016; bytes as in GPT-2), by the `tokenizers` library. */
export const bpe: Kind = {
  async train(texts, { vocabulary }) {
    const library = await import('tokenizers')
    const folder = await mkdtemp(join(tmpdir(), 'athanor-bpe-'))
    try {
      const file = join(folder, 'texts')
      async function* lines() {
        for await (const text of texts) yield `${text}\n`
      }
      await pipeline(Readable.from(lines()), createWriteStream(file))
      const trained = new library.Tokenizer(library.BPE.init({}, []))
      trained.setPreTokenizer(library.byteLevelPreTokenizer(false))
      trained.train([file])
      const saved = join(folder, 'tokenizer.json')
      trained.save(saved)
      return loadBpe(JSON.stringify(limited(JSON.parse(await readFile(saved, 'utf8')) as TokenizerFile, vocabulary)))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
  load: (json) => loadBpe(json),
}

/** The library trains to a size of its own: keeps the first tokens and merges, and makes room for the special ones. */
function limited(file: TokenizerFile, vocabulary: number): TokenizerFile {
  const kept = Object.entries(file.model.vocab)
    .filter(([, id]) => id < Math.max(vocabulary, 258) - 2)
    .sort((a, b) => a[1] - b[1])
  const vocab = Object.fromEntries([
    [PADDING, 0],
    [UNKNOWN, 1],
    ...kept.map(([token, id]) => [token, id + 2]),
  ]) as Record<string, number>
  const merges = file.model.merges!.filter(([a, b]) => a in vocab && b in vocab && a + b in vocab)
  const decoder = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true }
  return { ...file, added_tokens: special, decoder, model: { ...file.model, vocab, merges, unk_token: UNKNOWN } }
}

function loadBpe(json: string): Tokenizer {
  const { vocab } = (JSON.parse(json) as TokenizerFile).model
  let loading: Promise<{ encodeBatch(texts: string[]): Promise<{ getIds(): number[] }[]> }> | undefined
  return {
    size: Object.keys(vocab).length,
    json,
    async encode(texts) {
      loading ??= import('tokenizers').then((library) => library.Tokenizer.fromString(json))
      const encoded = await (await loading).encodeBatch([...texts])
      return encoded.map((encoding) => Int32Array.from(encoding.getIds()))
    },
  }
}
