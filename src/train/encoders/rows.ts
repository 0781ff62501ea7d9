import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { fail } from '../../base/errors.ts'
import { random, shuffle } from '../../base/random.ts'
import { assertHeld, type DataFile, fileOf } from '../../data/records.ts'
import type { TaskContext } from '../learner.ts'

/** Rows of each split; with a validation file that is the held-out split too. */
export interface Rows<Row> {
  readonly train: Row[]
  readonly validation: Row[]
  readonly test: Row[]
  readonly dataset: { digest: string; source: string; rows: number }
}

/**
 * Reads the data of a run and holds out a tenth for validation and a tenth for the test, by seed alone. Throws DATA_EMPTY,
 * DATA_TOO_LARGE or SPLIT_IMPOSSIBLE.
 */
export async function splitData<Row>(
  { job, seed }: TaskContext,
  read: (file: DataFile) => Promise<Row[]>,
): Promise<Rows<Row>> {
  const main = await fileOf(job.dataset, job.folder)
  await assertHeld(main)
  const rows = await read(main)
  if (rows.length === 0) throw fail('DATA_EMPTY', { source: main.name })
  const dataset = { digest: await digestOf(main.path), source: job.dataset.name, rows: rows.length }
  if (job.validation) {
    const held = await fileOf(job.validation, job.folder)
    const validation = await read(held)
    if (validation.length === 0) throw fail('DATA_EMPTY', { source: held.name })
    return { train: rows, validation, test: validation, dataset }
  }
  if (rows.length < 10) throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} rows are too few to hold some out` })
  const order = shuffle([...rows], random(seed))
  const held = Math.max(1, Math.floor(rows.length / 10))
  return {
    test: order.slice(0, held),
    validation: order.slice(held, 2 * held),
    train: order.slice(2 * held),
    dataset,
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** What a run tells of its data. */
export const reportOf = <Row>({ train, validation, test, dataset }: Rows<Row>, more: Record<string, unknown> = {}) => ({
  source: dataset.source,
  rowsRead: dataset.rows,
  rowsKept: dataset.rows,
  splits: { train: train.length, validation: validation.length, test: test.length },
  ...more,
})
