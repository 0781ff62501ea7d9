import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { Training } from './training.ts'

/**
 * Trains a model: has its task prepare the data, takes optimizer steps, validates after each epoch, keeps the best weights
 * and writes a bundle. A run that was interrupted goes on from its last checkpoint with the same batches and masks, so that
 * the result is the one an uninterrupted run would have had. Returns undefined when it was told to stop.
 */
export async function* train(job: TrainJob, stop: AbortSignal): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const training = yield* Training.open(job)
  try {
    yield { type: 'state', state: 'training' }
    if ((yield* training.advance(stop)) === 'stopped') return undefined
    return yield* training.conclude()
  } finally {
    await training.close()
  }
}
