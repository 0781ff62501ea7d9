import { AthanorError, type TrainEvent } from '../../client/src/index.ts'
import type { Context } from './context.ts'
import { TrainProgress } from './progress.ts'

export type Done = Extract<TrainEvent, { type: 'done' }>

/** Tells a run's name, and where a server that stays tells of it. */
export const tellRun = ({ client, own, out }: Context, run: string) =>
  out.say(`run ${out.style('bold', run)}${own ? '' : `   ${client.url}/api/runs/${run}`}`)

/**
 * Follows a run to its end and returns what it ended with. Ctrl-C stops it resumably; a failed run throws its error.
 */
export async function follow(
  run: string,
  { client, out, signal }: Context,
  watch: (event: TrainEvent) => void = () => {},
): Promise<{ done?: Done; progress: TrainProgress }> {
  const progress = new TrainProgress(out)
  let done: Done | undefined
  let stopping: Promise<unknown> | undefined
  const interrupt = () => {
    out.say('stopping at the next step …')
    stopping = client.runs.interrupt(run).catch(() => undefined)
  }
  signal.addEventListener('abort', interrupt, { once: true })
  try {
    for await (const event of client.runs.events(run)) {
      progress.show(event)
      watch(event)
      if (event.type === 'done') done = event
      if (event.type === 'failed') throw new AthanorError(event.error)
    }
  } finally {
    out.clear()
    signal.removeEventListener('abort', interrupt)
    await stopping
  }
  return { progress, ...(done && { done }) }
}
