// The training process: runs one job and sends its events to the control process.
import { appendFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { asAthanorError } from '../base/errors.ts'
import type { Advice } from './advice.ts'
import { advise } from './advise.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { train } from './train.ts'
import { Trials } from './trial.ts'

/** What the control process sends, and what it gets. */
export type ToTrainer = { type: 'start' | 'advise'; job: TrainJob } | { type: 'stop' }
export type FromTrainer =
  | { type: 'event'; event: TrainEvent }
  | { type: 'done'; result: TrainResult }
  | { type: 'advice'; advice: Advice }
  | { type: 'stopped' }
  | {
      type: 'failed'
      error: { code: string; details: Record<string, string | number> }
      suggestion?: string
      detail?: string
    }

const stop = new AbortController()
const send = (message: FromTrainer) =>
  new Promise<void>((resolve) => {
    if (process.send) process.send(message, () => resolve())
    else resolve()
  })

process.on('message', (message: ToTrainer) => {
  if (message.type === 'stop') stop.abort()
  else void work(message.job, message.type === 'advise' ? advice : training)
})
// the control process died: leave a checkpoint and end
process.on('disconnect', () => stop.abort())
process.on('SIGINT', () => {}) // Ctrl-C reaches the whole group; the control process decides

async function training(job: TrainJob): Promise<FromTrainer> {
  const events = train(job, stop.signal)
  let next = await events.next()
  for (; !next.done; next = await events.next()) await send({ type: 'event', event: next.value })
  return next.value ? { type: 'done', result: next.value } : { type: 'stopped' }
}

async function advice(job: TrainJob): Promise<FromTrainer> {
  const opening = Trials.open(job)
  let next = await opening.next()
  while (!next.done) next = await opening.next()
  const { folder, cleaned } = next.value
  return { type: 'advice', advice: await advise(folder, cleaned, Math.min(8, availableParallelism())) }
}

async function work(job: TrainJob, act: (job: TrainJob) => Promise<FromTrainer>) {
  try {
    await send(await act(job))
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
  process.exit(0)
}
