import { type ChildProcess, fork } from 'node:child_process'
import { copyFile, link, rm } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type AthanorError, type ErrorCode, fail } from '../base/errors.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { RunState, TrainEvent } from './events.ts'
import type { DataSource } from './job.ts'
import type { FromTrainer, RunJob, ToTrainer } from './process.ts'

/**
 * How Node runs a process of training. Each step leaves small garbage that holds large memory outside V8's heap; V8 doubles the
 * young generation, which it collects when full, over thousands of steps, and nothing in it lives long enough to gain by that.
 */
export const trainerFlags = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=4'] // MB

/** A process that waits for a job of training, at low priority: serving comes first. */
export function startTrainer(worker: URL): ChildProcess {
  const child = fork(fileURLToPath(worker), {
    serialization: 'advanced',
    execArgv: trainerFlags,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  try {
    if (child.pid !== undefined) setPriority(child.pid, 10)
  } catch {
    // not allowed everywhere; training runs all the same
  }
  return child
}

/** Step events kept of a run, about; the others are only passed on while they are new. */
const STEP_EVENTS_KEPT = 400

/** What becomes of what a process tells. */
interface Listener {
  state(state: RunState): Promise<void>
  /** Of events that are stored. */
  keep(event: TrainEvent): Promise<void>
  /** Of those that are told only while they are new. */
  pass(event: TrainEvent): void
  /** Its files may have changed. */
  progress(): void
}

/** Gives a process its job and passes on what it tells until it has said how it ends; throws TRAINER_DIED when it is gone before. */
export function converse(
  child: ChildProcess,
  job: RunJob,
  listener: Listener,
): Promise<Exclude<FromTrainer, { type: 'event' }>> {
  const { promise, resolve, reject } = Promise.withResolvers<Exclude<FromTrainer, { type: 'event' }>>()
  let handling = Promise.resolve()
  let steps = 0
  let [every, seen] = [1, 0]
  const receive = async (message: FromTrainer) => {
    if (message.type !== 'event') return resolve(message)
    const { event } = message
    if (event.type === 'state') return listener.state(event.state)
    if (event.type === 'checkpoint' || event.type === 'epoch' || event.type === 'trial') listener.progress()
    if (event.type !== 'step' && event.type !== 'progress') return listener.keep(event)
    // of many steps only some are stored, more sparsely the longer the run
    const kept = event.type === 'step' && seen++ % every === 0
    if (kept && ++steps % STEP_EVENTS_KEPT === 0) every *= 2
    await (kept ? listener.keep(event) : listener.pass(event))
  }
  child.on('message', (message: FromTrainer) => {
    handling = handling.then(() => receive(message)).catch(reject)
  })
  child.once('exit', (code, signal) => {
    const { run } = job
    const reason = /^SIG(KILL|ABRT|TRAP)$/.test(signal ?? '')
      ? `${signal}, as when there is no memory left`
      : (signal ?? `exit code ${code}`)
    handling = handling.then(() => reject(fail('TRAINER_DIED', { reason, run })))
  })
  child.send({ type: 'start', job } satisfies ToTrainer)
  return promise.finally(() => child.kill('SIGKILL'))
}

/** What a process failed by, as it was thrown there. */
export const failureOf = ({ error, suggestion, detail }: Extract<FromTrainer, { type: 'failed' }>): AthanorError =>
  fail(error.code as ErrorCode, error.details, { ...(suggestion && { suggestion }), cause: detail })

/** An uploaded file in a folder, under its own name after `prefix`, so that its format can be told. */
export async function sourceIn(
  folder: string,
  dataset: string,
  { store, datasets }: { store: Store; datasets: Datasets },
  prefix = '',
): Promise<DataSource> {
  if (dataset.startsWith('npm:')) return { path: dataset, name: dataset }
  const { digest, filename } = await datasets.get(dataset)
  const name = basename(filename)
  const path = join(folder, `${prefix}${name}`)
  const blob = await store.blobs.verify(digest)
  await rm(path, { force: true })
  await link(blob, path).catch(() => copyFile(blob, path)) // a link where the file system has them
  return { path, name }
}
