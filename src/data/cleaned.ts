import { once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import type { Problem } from '../base/problem.ts'
import { writeWhole } from '../base/whole.ts'
import type { Removals } from './clean.ts'
import { type CleanRows, openRows } from './clean-rows.ts'
import { Collector } from './collector.ts'
import type { Columns } from './columns.ts'
import type { Dataset } from './dataset.ts'

export interface CleanOptions {
  train: Dataset
  /** A file of its own to be held out; it stays whole, and training rows that occur in it are removed. */
  heldOut?: Dataset
  dropUnlabelled?: boolean
  /** Keep training rows that also occur in the held-out file. */
  keepLeakage?: boolean
  problem?: Problem
  /** The only labels there may be, in their order, where they are known already. */
  labels?: readonly string[]
  /** Texts that must not be trained on: rows that a version is judged by. */
  exclude?: readonly string[]
  /** UTF-16 units kept of a text. */
  characters: number
  /** Most rows, where it is not to be as many as memory is free for. */
  most?: number
  folder: string
}

/** Clean texts on disk, in `rows.jsonl`, and what is known of each, in columns beside it. */
export interface Cleaned {
  problem: Problem
  labels: string[]
  /** Labels by index of each set of labels that occurs; empty but for several labels a row. */
  sets: number[][]
  rows: CleanRows
  source: string
  format: string
  encoding: string
  columns: Columns
  rowsRead: number
  removed: Removals
  nearDuplicatesChecked: boolean
  /** The first rows by script. */
  scripts: Record<string, number>
  suitableTokenizer: 'word' | 'character'
  digest: string
  /** What the file that was held out is called. */
  heldOut?: string
}

const SPOOL = 'rows.'
const ROWS = `${SPOOL}jsonl`
const META = 'cleaned.json'

/**
 * Reads and cleans a data set, streaming: only labels, hashes and positions are held in memory. Throws DATA_EMPTY,
 * LABEL_MISSING, DATA_MALFORMED, DATA_TOO_LARGE and what the readers throw.
 */
export async function clean(options: CleanOptions, onProgress: (read: number) => void = () => {}): Promise<Cleaned> {
  const { train, heldOut, folder, characters, problem = 'classification' } = options
  const { dropUnlabelled = false, keepLeakage = false } = options
  const how = { characters, dropUnlabelled, keepLeakage, problem, exclude: options.exclude ?? [] }
  const collector = new Collector({ ...how, ...(options.most !== undefined && { most: options.most }) })
  const out = createWriteStream(join(folder, ROWS))
  const write = async (dataset: Dataset, given: boolean) => {
    for await (const row of dataset.rows()) {
      const text = collector.add(row, given, dataset)
      if (text !== undefined && !out.write(`${JSON.stringify(text)}\n`)) await once(out, 'drain')
      if (collector.read % 500 === 0) onProgress(collector.read)
    }
  }
  try {
    // the held-out file first: what it shares with the training rows is removed from those
    if (heldOut) await write(heldOut, true)
    await write(train, false)
  } finally {
    out.end()
    await finished(out)
  }
  const { labels, sets, final } = collector.finish(train.source, options.labels)
  const { source, format, encoding, columns } = train
  const digests = [await train.digest(), ...(heldOut ? [await heldOut.digest()] : [])]
  const about: About = {
    problem,
    labels,
    sets,
    ...collector.rows.save(folder, problem, sets, final),
    source,
    format,
    encoding,
    columns,
    rowsRead: collector.read,
    removed: collector.removals,
    nearDuplicatesChecked: collector.nearChecked,
    scripts: Object.fromEntries(collector.scripts),
    suitableTokenizer: collector.suitableTokenizer(),
    digest: digests.join('+'),
    ...(heldOut && { heldOut: heldOut.source }),
  }
  writeWhole(join(folder, META), JSON.stringify(about)) // last: its presence says that all is there
  return openCleaned(folder)!
}

/** What is in `cleaned.json`: all but the rows. */
type About = Omit<Cleaned, 'rows'> & { given: number }

/** What `clean` left in a folder; undefined when it did not finish. */
export function openCleaned(folder: string): Cleaned | undefined {
  const path = join(folder, META)
  if (!existsSync(path)) return undefined
  const { given, ...about } = JSON.parse(readFileSync(path, 'utf8')) as About
  return { ...about, rows: openRows(folder, { given }) }
}

/** Removes the texts and what is known of each. */
export function removeSpool(folder: string) {
  for (const name of readdirSync(folder)) if (name.startsWith(SPOOL)) rmSync(join(folder, name))
}

/** Texts of the rows wanted, in batches in the order of the rows; `at` numbers rows as `Cleaned.rows` does. */
export async function* cleanTexts(
  folder: string,
  { rows }: Pick<Cleaned, 'rows'>,
  wanted: (at: number) => boolean,
  size = 256,
): AsyncGenerator<{ at: number; text: string }[]> {
  const lines = createInterface({ input: createReadStream(join(folder, ROWS)), crlfDelay: Number.POSITIVE_INFINITY })
  let batch: { at: number; text: string }[] = []
  let [index, at] = [0, 0]
  for await (const line of lines) {
    if (at < rows.length && rows.removed[index++] === 0) {
      if (wanted(at)) batch.push({ at, text: JSON.parse(line) as string })
      at++
    }
    if (batch.length === size) {
      yield batch
      batch = []
    }
  }
  if (batch.length > 0) yield batch
}
