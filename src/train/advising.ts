import { fork } from 'node:child_process'
import { copyFile, link, mkdtemp, rm } from 'node:fs/promises'
import { setPriority, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, fail } from '../base/errors.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { Advice } from './advice.ts'
import type { RunSpec } from './events.ts'
import type { DataSource, TrainJob } from './job.ts'
import type { FromTrainer, ToTrainer } from './process.ts'

/** What is asked: as much of a run as concerns its data. */
export type AdviceRequest = Pick<RunSpec, 'dataset' | 'read' | 'problem' | 'dropUnlabelled'>

/** Looks at a data set in a process of its own and says what to try; throws what reading and cleaning throw. */
export async function adviseOn(
  house: { store: Store; datasets: Datasets },
  spec: AdviceRequest,
  signal: AbortSignal,
): Promise<Advice> {
  const folder = await mkdtemp(join(tmpdir(), 'athanor-advice-'))
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
    const dataset = await sourceOf(house, spec.dataset, folder)
    const { promise, resolve, reject } = Promise.withResolvers<Advice>()
    child.once('exit', (code, died) => reject(fail('TRAINER_DIED', { reason: died ?? `exit code ${code}`, run: '' })))
    child.on('message', (message: FromTrainer) => {
      if (message.type === 'event' && message.event.type === 'advice') resolve(message.event.advice)
      if (message.type !== 'failed') return
      const { error, suggestion, detail } = message
      reject(fail(error.code as ErrorCode, error.details, { ...(suggestion && { suggestion }), cause: detail }))
    })
    const job: TrainJob = { run: 'advice', spec, dataset, folder, advise: true }
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
