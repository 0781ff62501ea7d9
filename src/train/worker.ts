// The training process: runs one job and sends its events to the control process.
import { availableParallelism } from 'node:os'
import { advise } from './advise.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob } from './job.ts'
import { measure } from './measuring.ts'
import { serveRun } from './process.ts'
import { train } from './train.ts'
import { Trials } from './trial.ts'

/** Cleans the data and tells of it, as choosing a model begins; ends without a result. */
async function* look(job: TrainJob): AsyncGenerator<TrainEvent, undefined> {
  const { folder, cleaned } = yield* Trials.open(job)
  yield { type: 'advice', advice: await advise(folder, cleaned, Math.min(8, availableParallelism())) }
}

serveRun((job: TrainJob, stop) => (job.advise ? look(job) : job.measure ? measure(job) : train(job, stop)))
