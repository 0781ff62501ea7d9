import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../../base/errors.ts'
import { writeWhole } from '../../base/whole.ts'
import { ChatTemplate, chatMl, stretches, TRAINING_LIMIT } from '../chat.ts'
import { TextCodec } from '../codec.ts'
import { type EncodedSplit, openRun, openSplit, SplitWriter, type TokenRun } from '../encoded.ts'
import type { GenerationConfig } from '../generation.ts'
import type { Part } from '../split.ts'
import { type Corpus, type Message, wholeCharacters } from './corpus.ts'
import { END, MESSAGE, MESSAGE_END, trainBytePairs, trainCharacters, UNKNOWN } from './tokenizers.ts'

/** A tokenizer that came with a published model. */
export interface GivenTokenizer {
  json: string
  config: GenerationConfig
}

export interface PrepareCorpusOptions {
  corpus: Corpus
  /** A corpus of its own for validation; otherwise a twentieth of the texts is held out for it, and one for the test. */
  validation?: Corpus
  tokenizer: { kind: 'bpe' | 'character'; vocabulary: number } | GivenTokenizer
  context: number
  seed: number
  folder: string
}

/** A tokenized part of a corpus. Tokens that are read but not to be predicted are stored as -1 - id. */
export interface TokenPart {
  /** All tokens one after another, for running text. */
  readonly run: TokenRun
  /** Conversation by conversation, for chat. */
  readonly rows: EncodedSplit
}

export interface CorpusReport {
  source: string
  kind: Corpus['kind']
  documents: number
  characters: number
  /** Tokens and characters of each part. */
  parts: Record<Part, { tokens: number; characters: number }>
  splitBy: 'document' | 'position' | 'given corpus'
  vocabulary: number
  charactersPerToken: number
}

export interface PreparedCorpus {
  kind: Corpus['kind']
  tokenizer: string
  config: GenerationConfig
  train: TokenPart
  validation: TokenPart
  test: TokenPart | undefined
  report: CorpusReport
  digest: string
}

/** Documents from which on whole ones are held out, instead of the end of the text. */
const DOCUMENTS = 40
const HELD = 0.05
const META = 'corpus.json'
/** Characters tokenized at once. */
const AT_ONCE = 1 << 20

type Stretch = { part: Part; text: string; ends: boolean } | { part: Part; messages: Message[] }

/**
 * Splits and tokenizes a corpus, streaming: it is read twice or three times, never held whole. Throws DATA_EMPTY, CORPUS_SHORT and
 * SPLIT_IMPOSSIBLE when there is too little text.
 */
export async function prepareCorpus(
  options: PrepareCorpusOptions,
  onProgress: (phase: 'reading' | 'encoding', done: number, total?: number) => void = () => {},
): Promise<PreparedCorpus> {
  const { corpus, validation, folder, context, seed } = options
  mkdirSync(folder, { recursive: true })
  const size = await measure(corpus, (done) => onProgress('reading', done))
  const splitBy = validation ? 'given corpus' : size.documents >= DOCUMENTS ? 'document' : 'position'
  async function* all(): AsyncGenerator<Stretch> {
    if (validation) {
      yield* whole(validation, 'validation')
      yield* whole(corpus, 'train')
    } else if (splitBy === 'document') yield* byDocument(corpus, seed)
    else yield* byPosition(corpus, size.characters)
  }
  const { json, config } = await tokenizerFor(options, all)
  const codec = TextCodec.load(json)
  const report: CorpusReport = {
    source: corpus.source,
    kind: corpus.kind,
    ...size,
    parts: {
      train: { tokens: 0, characters: 0 },
      validation: { tokens: 0, characters: 0 },
      test: { tokens: 0, characters: 0 },
    },
    splitBy,
    vocabulary: codec.size,
    charactersPerToken: 0,
  }
  const writers = new Map<Part, SplitWriter>()
  const template =
    config.chatTemplate === undefined ? undefined : new ChatTemplate(config.chatTemplate, {}, TRAINING_LIMIT)
  let done = 0
  for await (const batch of batches(all())) {
    const texts = batch.map((one) =>
      'text' in one ? [{ text: one.text, own: true }] : stretches(template!, one.messages),
    )
    const encoded = await codec.encodeAll(texts.flat().map(({ text }) => text))
    let at = 0
    batch.forEach((one, i) => {
      const ids = texts[i].flatMap(({ own }) => Array.from(encoded[at++], (id) => (own ? id : -1 - id)))
      if ('text' in one && one.ends && config.end.length > 0) ids.push(config.end[0])
      const writer = writers.get(one.part) ?? new SplitWriter(folder, one.part)
      writers.set(one.part, writer)
      writer.add(0, Int32Array.from(ids))
      const characters = texts[i].reduce((sum, { text }) => sum + text.length, 0)
      report.parts[one.part].tokens += ids.length
      report.parts[one.part].characters += characters
      done += characters
    })
    onProgress('encoding', done, size.characters)
  }
  for (const writer of writers.values()) writer.close()
  const { train, validation: held } = report.parts
  if (train.tokens <= context) throw fail('CORPUS_SHORT', { source: corpus.source, tokens: train.tokens, context })
  if (held.tokens < 2) throw fail('SPLIT_IMPOSSIBLE', { reason: 'there is too little text to hold some out' })
  report.charactersPerToken = train.characters / train.tokens
  const digest = validation ? `${await corpus.digest()}+${await validation.digest()}` : await corpus.digest()
  writeWhole(join(folder, META), JSON.stringify({ kind: corpus.kind, tokenizer: json, config, report, digest }))
  return openPreparedCorpus(folder)!
}

/** What `prepareCorpus` left in a folder; undefined when it is not all there. */
export function openPreparedCorpus(folder: string): PreparedCorpus | undefined {
  const path = join(folder, META)
  if (!existsSync(path)) return undefined
  const meta = JSON.parse(readFileSync(path, 'utf8')) as Pick<
    PreparedCorpus,
    'kind' | 'tokenizer' | 'config' | 'report' | 'digest'
  >
  const open = (part: Part): TokenPart | undefined => {
    const [run, rows] = [openRun(folder, part), openSplit(folder, part)]
    return run && rows && { run, rows }
  }
  const [train, validation, test] = (['train', 'validation', 'test'] as const).map(open)
  // the machine went down before all of it was on disk: it is made again
  if (!train || !validation || (meta.report.parts.test.tokens > 0 && !test)) return undefined
  return { ...meta, train, validation, test }
}

async function measure(corpus: Corpus, onProgress: (characters: number) => void) {
  let [documents, characters, pieces] = [0, 0, 0]
  for await (const piece of corpus.pieces()) {
    if ('text' in piece) characters += piece.text.length
    else characters += piece.messages.reduce((sum, { content }) => sum + content.length, 0)
    if (!('text' in piece && piece.more)) documents++
    if (++pieces % 256 === 0) onProgress(characters)
  }
  if (characters === 0) throw fail('DATA_EMPTY', { source: corpus.source })
  return { documents, characters }
}

async function* whole(corpus: Corpus, part: Part): AsyncGenerator<Stretch> {
  for await (const piece of corpus.pieces())
    yield 'text' in piece ? { part, text: piece.text, ends: !piece.more } : { part, messages: piece.messages }
}

/** By each document's own content: copies of one document are never on both sides. */
async function* byDocument(corpus: Corpus, seed: number): AsyncGenerator<Stretch> {
  let part: Part | undefined
  for await (const piece of corpus.pieces()) {
    part ??= partOf('text' in piece ? piece.text : JSON.stringify(piece.messages), seed)
    if ('text' in piece) yield { part, text: piece.text, ends: !piece.more }
    else yield { part, messages: piece.messages }
    if (!('text' in piece && piece.more)) part = undefined
  }
}

function partOf(content: string, seed: number): Part {
  const place = createHash('sha256').update(`${seed} ${content.trim()}`).digest().readUInt32LE(0) / 2 ** 32
  return place < HELD ? 'test' : place < 2 * HELD ? 'validation' : 'train'
}

/** The last two twentieths of the characters are held out. */
async function* byPosition(corpus: Corpus, characters: number): AsyncGenerator<Stretch> {
  const ends: [Part, number][] = [
    ['train', Math.round(characters * (1 - 2 * HELD))],
    ['validation', Math.round(characters * (1 - HELD))],
    ['test', Number.POSITIVE_INFINITY],
  ]
  let at = 0
  for await (const piece of corpus.pieces()) {
    if (!('text' in piece)) {
      yield { part: ends.find(([, end]) => at < end)![0], messages: piece.messages }
      at += piece.messages.reduce((sum, { content }) => sum + content.length, 0)
      continue
    }
    let { text } = piece
    for (const [part, end] of ends) {
      if (text === '' || at >= end) continue
      const count = at + text.length <= end ? text.length : wholeCharacters(text, end - at)
      if (count > 0) yield { part, text: text.slice(0, count), ends: !piece.more && count === text.length }
      text = text.slice(count)
      at = text === '' ? at + count : end
    }
  }
}

async function* batches(stretches: AsyncIterable<Stretch>): AsyncGenerator<Stretch[]> {
  let batch: Stretch[] = []
  let size = 0
  for await (const one of stretches) {
    batch.push(one)
    size += 'text' in one ? one.text.length : one.messages.reduce((sum, { content }) => sum + content.length, 0)
    if (size < AT_ONCE) continue
    yield batch
    ;[batch, size] = [[], 0]
  }
  if (batch.length > 0) yield batch
}

/** The tokenizer given, or one trained on the training part alone. */
async function tokenizerFor(
  { corpus, tokenizer, context }: PrepareCorpusOptions,
  all: () => AsyncIterable<Stretch>,
): Promise<GivenTokenizer> {
  const chat = corpus.kind === 'chat'
  if ('json' in tokenizer) {
    const config = { ...tokenizer.config, context }
    if (chat && config.chatTemplate === undefined)
      throw fail('UNSUPPORTED', {
        what: 'learning conversations with a tokenizer that has no chat template',
        instead: 'Train from scratch, or on plain text.',
      })
    return { json: tokenizer.json, config }
  }
  async function* texts() {
    for await (const one of all()) {
      if (one.part !== 'train') continue
      if ('text' in one) yield one.text
      else for (const { content } of one.messages) yield `${content}\n`
    }
  }
  const special = chat ? [END, MESSAGE, MESSAGE_END] : [END]
  const train = tokenizer.kind === 'bpe' ? trainBytePairs : trainCharacters
  const json = await train(texts(), { vocabulary: tokenizer.vocabulary, special })
  const ids = new Map(TextCodec.load(json).special)
  const end = (chat ? [MESSAGE_END, END] : [END]).map((token) => ids.get(token)!)
  const never = [...ids].filter(([token]) => token === UNKNOWN || token === MESSAGE).map(([, id]) => id)
  const config = { context, end, start: ids.get(END)!, never, ...(chat && { chatTemplate: chatMl }) }
  return { json, config }
}
