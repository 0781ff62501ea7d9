import { once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import { fail } from '../base/errors.ts'
import { contentKey, NearDuplicates, noRemovals, type Reason, type Removals, recordRemoval } from './clean.ts'
import type { Dataset, Row } from './dataset.ts'
import { type EncodedSplit, openSplit, SplitWriter } from './encoded.ts'
import { type PipelineConfig, TextPipeline } from './pipeline.ts'
import { type DataReport, type Profile, Profiler } from './report.ts'
import { SampleWriter, sampleFiles, sampleOf } from './samples.ts'
import { type Part, type SplitOptions, splitRows } from './split.ts'
import { mainScript, normalise } from './text.ts'

export interface PrepareOptions {
  train: Dataset
  /** A file of its own for validation; it stays whole, and training rows that occur in it are removed. */
  validation?: Dataset
  dropUnlabelled?: boolean
  split: SplitOptions
  /** A tokenizer of `auto` is chosen from the data: characters for texts of several scripts, words otherwise. */
  pipeline: Omit<PipelineConfig, 'tokenizer'> & { tokenizer: PipelineConfig['tokenizer'] | 'auto' }
  /** A pipeline and labels that are known already, of a version that is trained further: nothing is learnt of the texts. */
  known?: { pipeline: TextPipeline; labels: readonly string[] }
  /** Texts that must not be trained on: rows that a version is judged by. */
  exclude?: readonly string[]
  /** Whether the training rows stay as text beside their ids, one JSON string a line, for a teacher to read. */
  keepTexts?: boolean
  /** Most rows kept as text: of the held-out split to measure with later, of the training rows to calibrate with. */
  samples?: { heldOut: number; heldIn: number }
  /** An empty or existing folder for what is prepared. */
  folder: string
}

/** Clean, split, encoded data on disk, ready for training. */
export interface Prepared {
  labels: string[]
  pipeline: TextPipeline
  train: EncodedSplit
  validation: EncodedSplit
  /** Absent when a validation file was given: that file is the held-out split then. */
  test: EncodedSplit | undefined
  report: DataReport
  profile: Profile
  digest: string
}

export type PrepareProgress = (phase: 'reading' | 'encoding', done: number, total?: number) => void

interface Kept {
  label: number
  group?: string
  part: Part
  removed?: Reason
}

const ROWS = 'rows.jsonl'
const META = 'prepared.json'
/** The training rows as text, where they are kept. */
export const TEXTS = 'train.texts'

/**
 * Reads, cleans, splits and encodes a data set, streaming: only labels, hashes and positions are held in memory. Throws
 * DATA_EMPTY, LABEL_MISSING, ONE_CLASS, LABEL_UNKNOWN and what the readers throw.
 */
export async function prepare(options: PrepareOptions, onProgress: PrepareProgress = () => {}): Promise<Prepared> {
  const { train, validation, split, folder } = options
  const spool = join(folder, ROWS)
  const collector = new Collector(options.pipeline.maxLength, options.dropUnlabelled ?? false, options.exclude)
  const out = createWriteStream(spool)
  const write = async (dataset: Dataset, part: Part) => {
    for await (const row of dataset.rows()) {
      const text = collector.add(row, part, dataset)
      if (text !== undefined && !out.write(`${JSON.stringify(text)}\n`)) await once(out, 'drain')
      if (collector.read % 500 === 0) onProgress('reading', collector.read)
    }
  }
  try {
    // the held-out file first: what it shares with the training rows is removed from those
    if (validation) await write(validation, 'validation')
    await write(train, 'train')
  } finally {
    out.end()
    await finished(out)
  }
  const { rows, labels, removals } = collector.finish(train.source, options.known?.labels)
  const kept = [...rows.keys()].filter((i) => !rows[i].removed)
  if (!validation) {
    const parts = splitRows(
      kept.map((i) => rows[i]),
      split,
    )
    kept.forEach((i, at) => {
      rows[i].part = parts[at]
    })
  }
  checkParts(rows, labels, train.source)

  const { tokenizer: asked, ...others } = options.pipeline
  const tokenizer = asked === 'auto' ? collector.suitableTokenizer() : asked
  const trainTexts = textsOf(spool, (i) => !rows[i].removed && rows[i].part === 'train')
  const pipeline = options.known?.pipeline ?? (await TextPipeline.train(trainTexts, { ...others, tokenizer }))
  const { heldOut = 0, heldIn = 0 } = options.samples ?? {}
  const parts = rows.map((row) => (row.removed ? undefined : row.part))
  const samples = (
    [
      [sampleFiles.heldOut, validation ? 'validation' : 'test', heldOut],
      [sampleFiles.heldIn, 'train', heldIn],
    ] as const
  ).flatMap(([file, part, limit]) =>
    limit === 0 ? [] : [{ writer: new SampleWriter(folder, file), rows: sampleOf(parts, part, limit, split.seed) }],
  )
  const texts = options.keepTexts ? createWriteStream(join(folder, TEXTS)) : undefined
  const profiler = new Profiler(labels)
  const writers = new Map<Part, SplitWriter>()
  let done = 0
  for await (const batch of batched(numbered(spool), 256)) {
    const use = batch.filter(({ index }) => !rows[index].removed)
    const encoded = await pipeline.encode(use.map(({ text }) => text))
    use.forEach(({ index, text }, i) => {
      const { part, label } = rows[index]
      const writer = writers.get(part) ?? new SplitWriter(folder, part)
      writers.set(part, writer)
      writer.add(label, encoded[i])
      for (const { writer, rows } of samples) if (rows.has(index)) writer.add({ text, label: labels[label] })
      if (part === 'train') {
        profiler.add(text, label, encoded[i])
        texts?.write(`${JSON.stringify(text)}\n`)
      }
    })
    done += use.length
    onProgress('encoding', done, kept.length)
  }
  for (const writer of writers.values()) writer.close()
  await Promise.all(samples.map(({ writer }) => writer.close()))
  if (texts) await finished(texts.end())
  rmSync(spool)

  const profile = profiler.profile()
  const digest = validation ? `${await train.digest()}+${await validation.digest()}` : await train.digest()
  const report: DataReport = {
    source: train.source,
    format: train.format,
    encoding: train.encoding,
    columns: train.columns,
    rowsRead: collector.read,
    rowsKept: kept.length,
    removed: removals,
    nearDuplicatesChecked: collector.nearChecked,
    labels: Object.fromEntries(labels.map((label, i) => [label, kept.filter((row) => rows[row].label === i).length])),
    splits: Object.fromEntries(
      (['train', 'validation', 'test'] as const).map((part) => [
        part,
        kept.filter((i) => rows[i].part === part).length,
      ]),
    ) as DataReport['splits'],
    splitBy: validation ? 'given file' : rows.some(({ group }) => group !== undefined) ? 'group' : 'label',
    lengths: profile.lengths,
    scripts: profile.scripts,
  }
  const meta = { labels, report, profile, digest, config: pipeline.config, tokenizer: pipeline.tokenizerJson }
  writeFileSync(join(folder, META), JSON.stringify(meta)) // last: its presence says that all is there
  return openPrepared(folder)!
}

/** What `prepare` left in a folder; undefined when it did not finish. */
export function openPrepared(folder: string): Prepared | undefined {
  const path = join(folder, META)
  if (!existsSync(path)) return undefined
  const { config, tokenizer, ...meta } = JSON.parse(readFileSync(path, 'utf8')) as Prepared & {
    config: PipelineConfig
    tokenizer: string
  }
  return {
    ...meta,
    pipeline: TextPipeline.load(config, tokenizer),
    train: openSplit(folder, 'train')!,
    validation: openSplit(folder, 'validation')!,
    test: openSplit(folder, 'test'),
  }
}

/** Decides row by row what is kept. */
class Collector {
  read = 0
  readonly #maxLength: number
  readonly #dropUnlabelled: boolean
  readonly #excluded: ReadonlySet<bigint>
  readonly #rows: Kept[] = []
  readonly #labels = new Map<string, number>()
  readonly #seen = new Map<bigint, number>()
  readonly #near = new NearDuplicates()
  readonly #removals: Removals = noRemovals()
  readonly #scripts = new Map<string, number>()

  constructor(maxLength: number, dropUnlabelled: boolean, exclude: readonly string[] = []) {
    this.#maxLength = maxLength
    this.#dropUnlabelled = dropUnlabelled
    this.#excluded = new Set(exclude.map(contentKey))
  }

  get nearChecked(): boolean {
    return !this.#near.full
  }

  /** The text to keep, or undefined when the row is dropped at once. */
  add(row: Row, part: Part, dataset: Dataset): string | undefined {
    this.read++
    if (row.label === undefined) {
      if (!this.#dropUnlabelled) throw fail('LABEL_MISSING', { source: dataset.source, line: row.line })
      return this.#drop('unlabelled', row)
    }
    // a token costs at most a few characters: what is cut off anyway is not kept
    const text = normalise(row.text.slice(0, this.#maxLength * 32), { unicode: 'none', lowercase: false })
    if (text === '') return this.#drop('empty', row)
    const label = this.#labelOf(row.label)
    const index = this.#rows.length
    const key = contentKey(text)
    if (part === 'train' && this.#excluded.has(key)) return this.#drop('leakage', row)
    const twin = this.#seen.get(key) ?? (part === 'train' ? this.#near.findOrAdd(text, index) : undefined)
    const exact = this.#seen.has(key)
    if (twin !== undefined && part === 'train') {
      const other = this.#rows[twin]
      if (other.part === 'validation') return this.#drop('leakage', row)
      if (other.label === label) return this.#drop(exact ? 'duplicate' : 'nearDuplicate', row)
      if (exact) {
        // the same text under two labels: neither can be trusted
        if (!other.removed) {
          other.removed = 'conflictingLabel'
          this.#removals.counts.conflictingLabel++
        }
        return this.#drop('conflictingLabel', row)
      }
    }
    if (part !== 'train') this.#near.findOrAdd(text, index)
    if (!exact) this.#seen.set(key, index)
    if (this.#rows.length < 5000) {
      const script = mainScript(text)
      this.#scripts.set(script, (this.#scripts.get(script) ?? 0) + 1)
    }
    this.#rows.push({ label, part, ...(row.group !== undefined && { group: row.group }) })
    return text
  }

  /** Words where one script is used throughout (Japanese mixes three); characters where texts differ in script. */
  suitableTokenizer(): 'word' | 'character' {
    const east = ['Han', 'Hiragana', 'Katakana'].reduce((sum, script) => sum + (this.#scripts.get(script) ?? 0), 0)
    const counts = [...this.#scripts.values()]
    const all = counts.reduce((a, b) => a + b, 0)
    return Math.max(east, ...counts) >= 0.8 * all ? 'word' : 'character'
  }

  finish(source: string, known?: readonly string[]) {
    if (!this.#rows.some((row) => !row.removed)) throw fail('DATA_EMPTY', { source })
    const stranger = known && [...this.#labels.keys()].find((name) => !known.includes(name))
    if (stranger !== undefined)
      throw fail('LABEL_UNKNOWN', { source, label: stranger.slice(0, 80), labels: known!.join(', ').slice(0, 300) })
    // labels in a fixed order, whatever order the rows came in
    const names = known ?? [...this.#labels.keys()].sort(byNumberThenText)
    const order = names.map((name) => this.#labels.get(name) ?? -1)
    for (const row of this.#rows) row.label = order.indexOf(row.label)
    return { rows: this.#rows, labels: [...names], removals: this.#removals }
  }

  #labelOf(name: string): number {
    const known = this.#labels.get(name)
    if (known !== undefined) return known
    this.#labels.set(name, this.#labels.size)
    return this.#labels.size - 1
  }

  #drop(reason: Reason, row: Row): undefined {
    recordRemoval(this.#removals, reason, row.line, row.text)
    return undefined
  }
}

const byNumberThenText = (a: string, b: string) => Number(a) - Number(b) || (a < b ? -1 : 1)

function checkParts(rows: readonly Kept[], labels: readonly string[], source: string) {
  const present = (part: Part) =>
    new Set(rows.filter((row) => !row.removed && row.part === part).map((row) => row.label))
  const [train, validation] = [present('train'), present('validation')]
  if (train.size === 0) throw fail('DATA_EMPTY', { source })
  if (train.size === 1) throw fail('ONE_CLASS', { label: labels[[...train][0]] })
  if (validation.size === 0)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} rows are too few to hold some out` })
  for (const label of validation) {
    if (!train.has(label)) {
      throw fail('LABEL_UNKNOWN', {
        source: 'the validation split',
        label: labels[label],
        labels: [...train]
          .map((i) => labels[i])
          .join(', ')
          .slice(0, 300),
      })
    }
  }
}

async function* numbered(spool: string): AsyncGenerator<{ index: number; text: string }> {
  let index = 0
  for await (const line of createInterface({ input: createReadStream(spool), crlfDelay: Number.POSITIVE_INFINITY })) {
    yield { index: index++, text: JSON.parse(line) as string }
  }
}

async function* textsOf(spool: string, wanted: (index: number) => boolean): AsyncGenerator<string> {
  for await (const { index, text } of numbered(spool)) if (wanted(index)) yield text
}

async function* batched<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = []
  for await (const item of items) {
    batch.push(item)
    if (batch.length === size) {
      yield batch
      batch = []
    }
  }
  if (batch.length > 0) yield batch
}
