import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob } from './job.ts'
import type { FromTrainer, ToTrainer } from './process.ts'
import { failureOf, sourceIn, startTrainer } from './trainer.ts'

/**
 * Asks something about a data set of a training process that ends with the answer: the first event of that type. Throws
 * what the process throws, and TRAINER_DIED.
 */
export async function askTrainer<Type extends TrainEvent['type']>(
  house: { store: Store; datasets: Datasets },
  answer: Type,
  about: Omit<TrainJob, 'run' | 'folder' | 'dataset'>,
  signal: AbortSignal,
): Promise<Extract<TrainEvent, { type: Type }>> {
  const folder = await mkdtemp(join(tmpdir(), `athanor-${answer}-`))
  const child = startTrainer(new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url))
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  try {
    const dataset = await sourceIn(folder, about.spec.dataset, house)
    const { promise, resolve, reject } = Promise.withResolvers<Extract<TrainEvent, { type: Type }>>()
    child.once('exit', (code, died) => reject(fail('TRAINER_DIED', { reason: died ?? `exit code ${code}`, run: '' })))
    child.on('message', (message: FromTrainer) => {
      if (message.type === 'event' && message.event.type === answer) resolve(message.event as never)
      if (message.type === 'failed') reject(failureOf(message))
    })
    const job: TrainJob = { ...about, run: answer, dataset, folder }
    child.send({ type: 'start', job } satisfies ToTrainer)
    return await promise
  } finally {
    signal.removeEventListener('abort', kill)
    kill()
    await rm(folder, { recursive: true, force: true })
  }
}
