import { fork } from 'node:child_process'
import { copyFile, link, mkdtemp, rm } from 'node:fs/promises'
import { setPriority, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, fail } from '../base/errors.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { TrainEvent } from './events.ts'
import type { DataSource, TrainJob } from './job.ts'
import type { FromTrainer, ToTrainer } from './process.ts'

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
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    execArgv: ['--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill, { once: true })
  try {
    if (child.pid !== undefined) setPriority(child.pid, 10) // serving comes first
    const dataset = await sourceOf(house, about.spec.dataset, folder)
    const { promise, resolve, reject } = Promise.withResolvers<Extract<TrainEvent, { type: Type }>>()
    child.once('exit', (code, died) => reject(fail('TRAINER_DIED', { reason: died ?? `exit code ${code}`, run: '' })))
    child.on('message', (message: FromTrainer) => {
      if (message.type === 'event' && message.event.type === answer) resolve(message.event as never)
      if (message.type !== 'failed') return
      const { error, suggestion, detail } = message
      reject(fail(error.code as ErrorCode, error.details, { ...(suggestion && { suggestion }), cause: detail }))
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

/** An uploaded file under its own name, so that its format can be told. */
async function sourceOf(
  { store, datasets }: { store: Store; datasets: Datasets },
  dataset: string,
  folder: string,
): Promise<DataSource> {
  if (dataset.startsWith('npm:')) return { path: dataset, name: dataset }
  const { digest, filename } = await datasets.get(dataset)
  const name = basename(filename)
  const path = join(folder, name)
  const blob = await store.blobs.verify(digest)
  await link(blob, path).catch(() => copyFile(blob, path)) // a link where the file system has them
  return { path, name }
}
