import { availableParallelism } from 'node:os'
import type { ReadOptions } from '../data/dataset.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import { askTrainer } from './asking.ts'
import type { RunSpec, TrainEvent } from './events.ts'
import { familyOf, optionsOf, type TrainJob, withBase } from './job.ts'
import { tasks } from './tasks.ts'

/** What was measured of a version. */
export type Measured = Extract<TrainEvent, { type: 'measured' }>

/**
 * Measures a version on all rows of a data set as its task measures what is held out, in a process of its own. Throws what
 * reading the data throws, and LABEL_UNKNOWN.
 */
export async function measureOn(
  house: { store: Store; datasets: Datasets },
  base: NonNullable<TrainJob['from']>,
  { dataset, read }: { dataset: string; read?: ReadOptions },
  signal: AbortSignal,
  what: NonNullable<TrainJob['measure']> = 'score',
): Promise<Measured> {
  const { manifest, ref } = base
  const asked = { dataset, from: ref, task: manifest!.task, ...(read && { read }) } as RunSpec
  const spec = withBase(asked, dataset, base)
  const own = familyOf(spec).family.options
  const trained = Object.entries(manifest!.lineage.options ?? {}).filter(
    ([name, value]) => name in own && value !== null,
  )
  // texts are cut where the version cuts them, which may be earlier than it was asked to
  const cut = Number(manifest!.pipeline?.maxLength)
  const options = {
    ...Object.fromEntries(trained),
    ...('maxLength' in own && cut > 0 && { maxLength: cut }),
  } as NonNullable<RunSpec['options']>
  return askTrainer(house, 'measured', { spec: { ...spec, options }, from: base, measure: what }, signal)
}

/** What the process does for that: opens the version as if it were trained further, with all rows held out. */
export async function* measure(job: TrainJob): AsyncGenerator<TrainEvent, undefined> {
  const { name, family, task } = familyOf(job.spec)
  const held = { ...job, validation: job.dataset }
  const opened = {
    job: held,
    name,
    family,
    options: optionsOf(job.spec),
    seed: 1,
    threads: Math.min(8, availableParallelism()),
  }
  const learner = yield* tasks[task].open(opened)
  const { metrics, rows } = await learner.evaluate(learner.initial!, 'test')
  const { reference } = job.measure === 'reference' ? (await learner.bundle(learner.initial!)).manifest : {}
  yield { type: 'measured', metrics, rows, ...(reference && { reference }) }
}
