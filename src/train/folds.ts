import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { readBundle } from '../bundle/bundle.ts'
import type { Metrics } from '../bundle/manifest.ts'
import { openCleaned } from '../data/cleaned.ts'
import { splitBy } from '../data/split.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { partingOf } from './prepared.ts'
import { Training } from './training.ts'
import { cleanSources } from './trial.ts'

/**
 * Trains once for each fold, holding it out, and then as without folds. The version that is registered is the last; its
 * metrics tell mean and standard deviation over the folds. By time, the first fold has no past to learn from and is
 * only learnt from.
 */
export async function* crossValidate(
  job: TrainJob,
  folds: number,
  stop: AbortSignal,
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const cleaned = join(job.folder, 'data')
  mkdirSync(cleaned, { recursive: true })
  yield { type: 'state', state: 'preparing' }
  const rows = openCleaned(cleaned) ?? (yield* cleanSources(job, cleaned))
  const { folds: _folds, ...spec } = job.spec
  const first = splitBy(rows.rows, spec.split) === 'time' ? 1 : 0
  partingOf({ ...job, fold: { of: folds, held: first } }, rows, spec.seed ?? 1) // what is impossible fails before anything is trained
  const found: Metrics[] = []
  for (let held = first; held < folds; held++) {
    const folder = join(job.folder, `fold-${held + 1}`)
    const done = await readBundle(join(folder, 'bundle')).catch(() => undefined)
    if (done) {
      found.push(done.manifest.metrics)
      continue
    }
    const training = yield* Training.open({ ...job, spec, cleaned, folder, fold: { of: folds, held } })
    try {
      yield { type: 'state', state: 'training' }
      if ((yield* training.advance(stop)) === 'stopped') return undefined
      found.push((yield* training.conclude()).metrics)
    } finally {
      await training.close()
    }
  }
  const training = yield* Training.open({ ...job, spec, cleaned, folder: join(job.folder, 'whole') })
  try {
    yield { type: 'state', state: 'training' }
    if ((yield* training.advance(stop)) === 'stopped') return undefined
    return yield* training.conclude({ metrics: { folds: found.length, ...summary(found) } })
  } finally {
    await training.close()
  }
}

/** `accuracyMean`, `accuracyDeviation` and so on: of what each fold scored on what it held out (n - 1 below the root). */
function summary(found: readonly Metrics[]): Metrics {
  const names = Object.keys(found[0]).filter((name) => !/^(rows|trainingSeconds|validation.*)$/.test(name))
  return Object.fromEntries(
    names.flatMap((name) => {
      const values = found.map((metrics) => metrics[name])
      const mean = values.reduce((a, b) => a + b, 0) / values.length
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
      return [
        [`${name}Mean`, mean],
        [`${name}Deviation`, Math.sqrt(squares / Math.max(1, values.length - 1))],
      ]
    }),
  )
}
