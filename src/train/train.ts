import type { TrainEvent } from './events.ts'
import { crossValidate } from './folds.ts'
import { isAuto, type TrainJob, type TrainResult } from './job.ts'
import type { Task } from './learner.ts'
import { search } from './search.ts'
import { selectModel } from './select.ts'
import { Training } from './training.ts'

/**
 * Does what a run asks for: one training, the choice of a model, a search for options, or several folds. Returns undefined
 * when it was told to stop; called again, it goes on from what is on disk. `open` stands in for the task's own way to a
 * learner of one training.
 */
export async function* train(
  job: TrainJob,
  stop: AbortSignal,
  open?: Task['open'],
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const { spec } = job
  if (open) return yield* trainOnce(job, stop, open)
  if (spec.search) return yield* search(job, spec.search, stop)
  if (isAuto(spec)) return yield* selectModel(job, stop)
  if (spec.folds) return yield* crossValidate(job, spec.folds, stop)
  return yield* trainOnce(job, stop)
}

/**
 * Trains a model: has its task prepare the data, takes optimizer steps, validates after each epoch, keeps the best weights
 * and writes a bundle. A training that was interrupted goes on from its last checkpoint with the same batches and masks, so
 * that the result is the one an uninterrupted one would have had.
 */
async function* trainOnce(
  job: TrainJob,
  stop: AbortSignal,
  open?: Task['open'],
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const training = yield* Training.open(job, open)
  try {
    yield { type: 'state', state: 'training' }
    if ((yield* training.advance(stop)) === 'stopped') return undefined
    return yield* training.conclude()
  } finally {
    await training.close()
  }
}
