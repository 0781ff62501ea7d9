import { createWriteStream, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import { writeWhole } from '../base/whole.ts'
import { type Cleaned, clean, cleanTexts, removeSpool } from './cleaned.ts'
import type { Dataset } from './dataset.ts'
import { type EncodedSplit, openSplit, SplitWriter } from './encoded.ts'
import { type PipelineConfig, TextPipeline } from './pipeline.ts'
import { Profiler } from './profile.ts'
import type { DataReport, Profile } from './report.ts'
import { SampleWriter, sampleFiles, sampleOf } from './samples.ts'
import { type Part, type SplitOptions, splitBy, splitRows } from './split.ts'

/** A pipeline to be learnt; a tokenizer of `auto` is chosen from the data. */
export type PipelineWish = Omit<PipelineConfig, 'tokenizer'> & { tokenizer: PipelineConfig['tokenizer'] | 'auto' }

interface SampleSizes {
  heldOut: number
  heldIn: number
}

export interface PrepareOptions {
  train: Dataset
  /** A file of its own to be held out; it stays whole, and training rows that occur in it are removed. */
  validation?: Dataset
  dropUnlabelled?: boolean
  /** Keep training rows that also occur in the held-out file. */
  keepLeakage?: boolean
  problem?: Problem
  split: SplitOptions
  pipeline: PipelineWish
  /** A pipeline, and perhaps labels, of a version that is trained further: nothing is learnt of the texts. */
  known?: { pipeline: TextPipeline; labels?: readonly string[] }
  /** Texts that must not be trained on: rows that a version is judged by. */
  exclude?: readonly string[]
  /** Whether the training rows stay as text beside their ids, one JSON string a line, for a teacher to read. */
  keepTexts?: boolean
  /** Most rows kept as text: of the held-out split to measure with later, of the training rows to calibrate with. */
  samples?: SampleSizes
  /** An empty or existing folder for what is prepared. */
  folder: string
}

/** Clean, split, encoded data on disk, ready for training. */
export interface Prepared {
  folder: string
  problem: Problem
  labels: string[]
  /** Labels by index of each set of labels that a row of several labels can have; a row's label is the set's index. */
  sets: number[][]
  pipeline: TextPipeline
  train: EncodedSplit
  validation: EncodedSplit
  /** Rows that nothing is chosen by; absent when a given file validates. */
  test: EncodedSplit | undefined
  report: DataReport
  profile: Profile
  digest: string
}

export type PrepareProgress = (phase: 'reading' | 'encoding', done: number, total?: number) => void

const META = 'prepared.json'
/** The training rows as text, where they are kept. */
export const TEXTS = 'train.texts'

/** UTF-16 units kept of a text: a token costs at most a few, and what is cut off anyway is not kept. */
export const charactersFor = (maxLength: number) => maxLength * 32

/**
 * Reads, cleans, splits and encodes a data set. Throws DATA_EMPTY, LABEL_MISSING, ONE_CLASS, LABEL_UNKNOWN,
 * SPLIT_IMPOSSIBLE and what the readers throw.
 */
export async function prepare(options: PrepareOptions, onProgress: PrepareProgress = () => {}): Promise<Prepared> {
  const { train, validation, dropUnlabelled = false, keepLeakage = false, split, pipeline, folder } = options
  const characters = charactersFor(pipeline.maxLength)
  const asked = { dropUnlabelled, keepLeakage, problem: options.problem ?? 'classification', characters }
  const more = {
    ...(validation && { heldOut: validation }),
    ...(options.known?.labels && { labels: options.known.labels }),
    ...(options.exclude && { exclude: options.exclude }),
  }
  const cleaned = await clean({ ...asked, ...more, train, folder }, (read) => onProgress('reading', read))
  const how = {
    wish: pipeline,
    seed: split.seed,
    ...(options.known && { known: options.known.pipeline }),
    ...(options.samples && { samples: options.samples }),
    keepTexts: options.keepTexts ?? false,
  }
  const prepared = await encode(folder, cleaned, partsOf(cleaned, split), how, folder, onProgress)
  removeSpool(folder)
  return prepared
}

/** How rows are parted, and by what. */
export interface Parting {
  parts: (Part | undefined)[]
  by: DataReport['splitBy']
}

/**
 * The parts of cleaned rows. A given file validates and all others train; where a way to split is asked for beside it,
 * the file is the test split, and a share of the others validates.
 */
export function partsOf({ rows, source, labels, problem }: Cleaned, split: SplitOptions): Parting {
  const { given, length } = rows
  const parts = new Array<Part>(length).fill('train')
  if (given > 0 && split.by === undefined) {
    parts.fill('validation', 0, given)
    return checked({ parts, by: 'given file' }, rows, labels, source, problem)
  }
  const rest = { length: length - given, at: (row: number) => rows.at(given + row) }
  const by = splitBy(rest, split.by)
  parts.fill('test', 0, given)
  const shares = given > 0 ? { ...split, test: 0 } : split
  splitRows(rest, { ...shares, by }).forEach((part, row) => {
    parts[given + row] = part
  })
  return checked({ parts, by: given > 0 ? `${by}, given file` : by }, rows, labels, source, problem)
}

/** Learns a pipeline from the training part and writes all parts as token ids to `folder`. */
export async function encode(
  spool: string,
  cleaned: Cleaned,
  { parts, by }: Parting,
  how: { wish: PipelineWish; known?: TextPipeline; samples?: SampleSizes; seed: number; keepTexts?: boolean },
  folder: string,
  onProgress: PrepareProgress = () => {},
): Promise<Prepared> {
  const { rows, labels, problem, sets } = cleaned
  const { wish, seed, samples: { heldOut = 0, heldIn = 0 } = {} } = how
  const { tokenizer: asked, ...others } = wish
  const tokenizer = asked === 'auto' ? cleaned.suitableTokenizer : asked
  async function* trainTexts() {
    for await (const batch of cleanTexts(spool, cleaned, (at) => parts[at] === 'train'))
      for (const { text } of batch) yield text
  }
  const pipeline = how.known ?? (await TextPipeline.train(trainTexts(), { ...others, tokenizer }))
  const kept = [
    [sampleFiles.heldOut, parts.includes('test') ? 'test' : 'validation', heldOut],
    [sampleFiles.heldIn, 'train', heldIn],
  ] as const
  // a sample's rows have one label each
  const samples = kept.flatMap(([file, part, limit]) =>
    limit === 0 || problem !== 'classification'
      ? []
      : [{ writer: new SampleWriter(folder, file), rows: sampleOf(parts, part, limit, seed) }],
  )
  const texts = how.keepTexts ? createWriteStream(join(folder, TEXTS)) : undefined
  const profiler = new Profiler(labels, problem, sets)
  const writers = new Map<Part, SplitWriter>()
  let done = 0
  for await (const batch of cleanTexts(spool, cleaned, (at) => parts[at] !== undefined)) {
    const encoded = await pipeline.encode(batch.map(({ text }) => text))
    batch.forEach(({ at, text }, i) => {
      const part = parts[at]!
      const writer = writers.get(part) ?? new SplitWriter(folder, part)
      writers.set(part, writer)
      writer.add(rows.targets[at], encoded[i])
      for (const { writer, rows: among } of samples)
        if (among.has(at)) writer.add({ text, label: labels[rows.targets[at]] })
      if (part === 'train') {
        profiler.add(text, rows.targets[at], encoded[i])
        texts?.write(`${JSON.stringify(text)}\n`)
      }
    })
    done += batch.length
    onProgress('encoding', done, rows.length)
  }
  for (const writer of writers.values()) writer.close()
  await Promise.all(samples.map(({ writer }) => writer.close()))
  if (texts) await finished(texts.end())

  const profile = profiler.profile()
  const count = (part: Part) => parts.reduce((sum, one) => (one === part ? sum + 1 : sum), 0)
  const report: DataReport = {
    source: cleaned.source,
    format: cleaned.format,
    encoding: cleaned.encoding,
    columns: cleaned.columns,
    rowsRead: cleaned.rowsRead,
    rowsKept: rows.length,
    removed: cleaned.removed,
    nearDuplicatesChecked: cleaned.nearDuplicatesChecked,
    labels: labelCounts(cleaned),
    splits: { train: count('train'), validation: count('validation'), test: count('test') },
    splitBy: by,
    lengths: profile.lengths,
    characters: profile.characters,
    scripts: profile.scripts,
    ...(profile.values && { values: profile.values }),
    ...(cleaned.heldOut !== undefined && { heldOut: cleaned.heldOut }),
  }
  const { digest } = cleaned
  const meta = {
    problem,
    labels,
    sets,
    report,
    profile,
    digest,
    config: pipeline.config,
    tokenizer: pipeline.tokenizerJson,
  }
  writeWhole(join(folder, META), JSON.stringify(meta)) // last: its presence says that all is there
  return openPrepared(folder)!
}

/** What `prepare` left in a folder; undefined when it is not all there. */
export function openPrepared(folder: string): Prepared | undefined {
  const path = join(folder, META)
  if (!existsSync(path)) return undefined
  const { config, tokenizer, ...meta } = JSON.parse(readFileSync(path, 'utf8')) as Prepared & {
    config: PipelineConfig
    tokenizer: string
  }
  const [train, validation, test] = (['train', 'validation', 'test'] as const).map((part) => openSplit(folder, part))
  const { splits } = meta.report
  // the machine went down before all of it was on disk: it is made again
  if (!train || !validation || (splits.test > 0 && !test)) return undefined
  return { ...meta, folder, pipeline: TextPipeline.load(config, tokenizer), train, validation, test }
}

/** Rows of each label; a row of several counts for each. */
export function labelCounts({ problem, labels, rows, sets }: Cleaned): Record<string, number> {
  const counts = labels.map(() => 0)
  if (problem !== 'regression')
    for (const target of rows.targets)
      for (const label of problem === 'multi-label' ? sets[target] : [target]) counts[label]++
  return Object.fromEntries(labels.map((label, i) => [label, counts[i]]))
}

/** Throws DATA_EMPTY, ONE_CLASS, LABEL_CONSTANT, SPLIT_IMPOSSIBLE or LABEL_UNKNOWN where parts cannot be trained on. */
export function checked(
  parting: Parting,
  rows: Cleaned['rows'],
  labels: readonly string[],
  source: string,
  problem: Problem,
): Parting {
  const { parts } = parting
  const present = (part: Part) => {
    const targets = new Set<number>()
    for (const [at, target] of rows.targets.entries()) if (parts[at] === part) targets.add(target)
    return targets
  }
  const [train, validation, test] = [present('train'), present('validation'), present('test')]
  if (train.size === 0) throw fail('DATA_EMPTY', { source })
  if (train.size === 1 && problem === 'classification') throw fail('ONE_CLASS', { label: labels[[...train][0]] })
  if (train.size === 1) throw fail('LABEL_CONSTANT', { source })
  if (validation.size === 0)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} rows are too few to hold some out` })
  if (problem !== 'classification') return parting
  for (const [split, held] of [
    ['validation', validation],
    ['test', test],
  ] as const) {
    const unknown = [...held].find((label) => !train.has(label))
    if (unknown === undefined) continue
    const known = [...train].map((i) => labels[i]).join(', ')
    throw fail('LABEL_UNKNOWN', { source: `the ${split} split`, label: labels[unknown], labels: known.slice(0, 300) })
  }
  return parting
}
