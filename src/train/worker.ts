// The training process: runs one job and sends its events to the control process.
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { asAthanorError } from '../base/errors.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { train } from './train.ts'

/** What the control process sends, and what it gets. */
export type ToTrainer = { type: 'start'; job: TrainJob } | { type: 'stop' }
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

const stop = new AbortController()
const send = (message: FromTrainer) =>
  new Promise<void>((resolve) => {
    if (process.send) process.send(message, () => resolve())
    else resolve()
  })

process.on('message', (message: ToTrainer) => {
  if (message.type === 'stop') stop.abort()
  else void work(message.job)
})
// the control process died: leave a checkpoint and end
process.on('disconnect', () => stop.abort())
process.on('SIGINT', () => {}) // Ctrl-C reaches the whole group; the control process decides

async function work(job: TrainJob) {
  try {
    const events = train(job, stop.signal)
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
  process.exit(0)
}
