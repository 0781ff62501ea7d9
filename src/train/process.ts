import { appendFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { asAthanorError, fail } from '../base/errors.ts'
import { type Lock, takeLock, writeTemporaryIn } from '../store/home.ts'
import type { TrainEvent } from './events.ts'
import type { TrainResult } from './job.ts'

/** What every kind of run is started with; each adds its own. */
export interface RunJob {
  readonly run: string
  /** The run's own folder, gone after it is done. */
  readonly folder: string
}

/** What the control process sends, and what it gets. */
export type ToTrainer = { type: 'start'; job: RunJob } | { type: 'stop' }
export type FromTrainer =
  | { type: 'event'; event: TrainEvent }
  | { type: 'done'; result: TrainResult }
  | { type: 'stopped' }
  | {
      type: 'failed'
      error: { code: string; details: Record<string, string | number> }
      suggestion?: string
      detail?: string
    }

/** Makes this the process of a run: takes one job from the control process and sends it what `work` tells. */
export function serveRun<Job extends RunJob>(
  work: (job: Job, stop: AbortSignal) => AsyncGenerator<TrainEvent, TrainResult | undefined>,
) {
  const stop = new AbortController()
  process.on('message', (message: ToTrainer) => {
    if (message.type === 'stop') stop.abort()
    else void doWork(message.job as Job)
  })
  // the control process died: leave a checkpoint and end
  process.on('disconnect', () => stop.abort())
  process.on('SIGINT', () => {}) // Ctrl-C reaches the whole group; the control process decides

  async function doWork(job: Job) {
    let alone: Lock | undefined
    try {
      alone = await takeFolder(job)
      writeTemporaryIn(job.folder)
      const events = work(job, stop.signal)
      let next = await events.next()
      for (; !next.done; next = await events.next()) await send({ type: 'event', event: next.value })
      await send(next.value ? { type: 'done', result: next.value } : { type: 'stopped' })
    } catch (error) {
      const { code, details, hint, cause } = asAthanorError(error)
      const suggestion = /^Did you mean "(.*?)"\?/.exec(hint)?.[1]
      const detail = cause instanceof Error ? cause.stack : undefined
      if (detail) appendFileSync(join(job.folder, 'error.log'), `${detail}\n`)
      await send({
        type: 'failed',
        error: { code, details },
        ...(suggestion && { suggestion }),
        ...(detail && { detail }),
      })
    }
    alone?.release()
    process.exit(0)
  }
}

/** Milliseconds that the process before has to leave a checkpoint. */
const PATIENCE = 60_000

/**
 * Waits until the process that worked on the run before has ended: one whose control process was killed still leaves a
 * checkpoint. Throws RUN_NOT_RESUMABLE when it does not end.
 */
async function takeFolder({ run, folder }: RunJob): Promise<Lock> {
  for (const until = Date.now() + PATIENCE; ; await setTimeout(50)) {
    const lock = takeLock(join(folder, '.lock'))
    if (lock) return lock
    if (Date.now() > until) throw fail('RUN_NOT_RESUMABLE', { run, reason: 'a process of it has not ended yet' })
  }
}

const send = (message: FromTrainer) =>
  new Promise<void>((resolve) => {
    if (message.type !== 'event') flushCompileCache() // it is killed when this arrives
    if (process.send) process.send(message, () => resolve())
    else resolve()
  })
