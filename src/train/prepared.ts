import { createHash } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Cleaned, openCleaned } from '../data/cleaned.ts'
import { openDataset } from '../data/dataset.ts'
import type { PipelineConfig } from '../data/pipeline.ts'
import {
  checked,
  encode,
  openPrepared,
  type Parting,
  type PipelineWish,
  type Prepared,
  type PrepareOptions,
  type PrepareProgress,
  partsOf,
  prepare,
} from '../data/prepare.ts'
import { foldParts, foldRows, splitBy } from '../data/split.ts'
import type { TrainEvent } from './events.ts'
import type { DataSource, TrainJob } from './job.ts'
import type { Options } from './options.ts'
import { problemOf } from './problem.ts'
import { withProgress } from './progress.ts'

/** Share of the rows held out for choosing weights, and again for the figures reported. */
const HELD = 0.1

/** What a pipeline is asked for by options. */
export const wishOf = (options: Options): PipelineWish => ({
  normalise: {
    unicode: 'NFKC',
    lowercase: true,
    ...(options.script !== 'as it is' && { script: options.script as 'simplified' | 'traditional' }),
  },
  tokenizer: options.tokenizer as PipelineConfig['tokenizer'] | 'auto',
  vocabulary: Number(options.vocabulary),
  minimumCount: Number(options.minimumCount),
  maxLength: Number(options.maxLength),
})

/**
 * Reads and prepares the data, or opens what an interrupted run prepared; progress goes out as events. Trainings that share
 * cleaned rows share what is encoded of them too, where they want it the same.
 */
export async function* prepareData(
  job: TrainJob,
  options: Options,
  seed: number,
  more: Pick<PrepareOptions, 'known' | 'exclude' | 'keepTexts'> = {},
): AsyncGenerator<TrainEvent, Prepared> {
  const wish = wishOf(options)
  const known = more.known?.pipeline
  const folder = job.cleaned
    ? join(job.cleaned, keyOf([wish, job.fold, seed, known?.config]))
    : join(job.folder, 'data')
  const finished = openPrepared(folder)
  if (finished) return finished
  if (!existsSync(folder)) mkdirSync(folder)
  const { cleaned } = job
  if (!cleaned) return yield* withProgress((tell) => readAndPrepare(job, options, seed, folder, more, tell))
  const rows = openCleaned(cleaned)!
  const how = { wish, ...(known && { known }), seed, samples: samplesOf(options) }
  return yield* withProgress((tell) => encode(cleaned, rows, partingOf(job, rows, seed), how, folder, tell))
}

/** Rows kept as text in the bundle. */
const samplesOf = ({ heldOutRows, heldInRows }: Options) => ({
  heldOut: Number(heldOutRows),
  heldIn: Number(heldInRows),
})

const keyOf = (value: unknown) => createHash('sha1').update(JSON.stringify(value)).digest('hex').slice(0, 12)

/** How a job splits cleaned rows: as any training does, or with one of several folds held out. */
export function partingOf({ spec, fold }: TrainJob, rows: Cleaned, seed: number): Parting {
  if (!fold) return partsOf(rows, { validation: HELD, test: HELD, seed, ...(spec.split && { by: spec.split }) })
  const by = splitBy(rows.rows, spec.split)
  const held = foldRows(rows.rows, { folds: fold.of, seed, by })
  const parts = foldParts(rows.rows, held, fold.held, { validation: HELD, seed, by })
  return checked({ parts, by: `${fold.of} folds by ${by}` }, rows.rows, rows.labels, rows.source, rows.problem)
}

/** The data sets of a job, opened. */
export async function openSources({ spec, dataset, validation }: TrainJob) {
  const read = (source: DataSource) => openDataset(source.path, { ...spec.read, name: source.name })
  const train = await read(dataset)
  const heldOut = validation && (await read(validation))
  return { train, heldOut, close: () => Promise.all([train.close(), heldOut?.close()]) }
}

async function readAndPrepare(
  job: TrainJob,
  options: Options,
  seed: number,
  folder: string,
  more: Pick<PrepareOptions, 'known' | 'exclude' | 'keepTexts'>,
  tell: PrepareProgress,
) {
  const { spec } = job
  const { train, heldOut, close } = await openSources(job)
  try {
    const all = {
      train,
      ...(heldOut && { validation: heldOut }),
      problem: problemOf(spec),
      dropUnlabelled: spec.dropUnlabelled ?? false,
      keepLeakage: spec.keepLeakage ?? false,
      split: { validation: HELD, test: HELD, seed, ...(spec.split && { by: spec.split }) },
      pipeline: wishOf(options),
      samples: samplesOf(options),
      ...more,
      folder,
    }
    return await prepare(all, tell)
  } finally {
    await close()
  }
}
