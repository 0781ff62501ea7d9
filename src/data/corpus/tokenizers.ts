import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { byteAlphabet } from '../codec.ts'

/** Ends a text. */
export const END = '<|endoftext|>'
/** Enclose a message of a conversation, as in OpenAI's ChatML. */
export const [MESSAGE, MESSAGE_END] = ['<|im_start|>', '<|im_end|>']
/** A character that the tokenizer did not meet in training. */
export const UNKNOWN = '[UNK]'

const added = (contents: readonly string[]) =>
  contents.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
const base = { version: '1.0', truncation: null, padding: null, normalizer: null, post_processor: null }

/**
 * Byte-level byte pair encoding (Sennrich et al. 2016) with GPT-2's pre-tokenizer, trained by the `tokenizers` library:
 * special tokens, then all 256 bytes, then merged pairs up to the size asked for. Returns Hugging Face's tokenizer.json.
 */
export async function trainBytePairs(
  texts: AsyncIterable<string>,
  { vocabulary, special }: { vocabulary: number; special: readonly string[] },
): Promise<string> {
  const library = await import('tokenizers')
  const folder = await mkdtemp(join(tmpdir(), 'athanor-bpe-'))
  try {
    const file = join(folder, 'texts')
    await pipeline(Readable.from(texts), createWriteStream(file))
    const trained = new library.Tokenizer(library.BPE.init({}, []))
    trained.setPreTokenizer(library.byteLevelPreTokenizer(false))
    trained.train([file])
    const saved = join(folder, 'tokenizer.json')
    trained.save(saved)
    const { model } = JSON.parse(await readFile(saved, 'utf8')) as { model: { merges: [string, string][] } }
    const vocab = new Map<string, number>()
    for (const token of [...special, ...byteAlphabet]) vocab.set(token, vocab.size)
    const merges: [string, string][] = []
    for (const [left, right] of model.merges) {
      if (!vocab.has(left + right) && vocab.size >= Math.max(vocabulary, 257)) break
      if (!vocab.has(left + right)) vocab.set(left + right, vocab.size)
      merges.push([left, right])
    }
    const level = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
    return JSON.stringify({
      ...base,
      added_tokens: added(special),
      pre_tokenizer: level,
      decoder: level,
      model: { ...model, vocab: Object.fromEntries(vocab), merges },
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** One token a character, the commonest `vocabulary` of them; others are unknown. */
export async function trainCharacters(
  texts: AsyncIterable<string>,
  { vocabulary, special }: { vocabulary: number; special: readonly string[] },
): Promise<string> {
  const counts = new Map<string, number>()
  for await (const text of texts) for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  const first = [...special, UNKNOWN]
  const characters = [...counts]
    .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)) // ties by code unit: the same on every machine
    .slice(0, Math.max(1, vocabulary - first.length))
    .map(([character]) => character)
  return JSON.stringify({
    ...base,
    added_tokens: added(first),
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[\\s\\S]' }, behavior: 'Isolated', invert: false },
    decoder: { type: 'Fuse' },
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries([...first, ...characters].map((token, id) => [token, id])),
      unk_token: UNKNOWN,
    },
  })
}
