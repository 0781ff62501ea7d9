import { AthanorError, type TrainEvent } from '../../client/src/index.ts'
import type { Context } from './context.ts'
import { TrainProgress } from './progress.ts'

export type Done = Extract<TrainEvent, { type: 'done' }>

/** Tells a run's name, and where a server that stays tells of it. */
export const tellRun = ({ client, lasting, out }: Context, run: string) =>
  out.say(`run ${out.style('bold', run)}${lasting ? `   ${client.url}/api/runs/${run}` : ''}`)

/**
 * Follows a run to its end and returns what it ended with. Ctrl-C stops it resumably; a failed run throws its error. Where
 * the server was another command's and ended with that, the run goes on in the next one.
 */
export async function follow(
  run: string,
  { client, moved, out, signal }: Context,
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
    do {
      for await (const event of client.runs.events(run)) {
        progress.show(event)
        watch(event)
        if (event.type === 'done') done = event
        if (event.type === 'failed') throw new AthanorError(event.error)
      }
    } while (!done && !signal.aborted && (await moved()) && (await goOn(run, client)))
  } finally {
    out.clear()
    signal.removeEventListener('abort', interrupt)
    await stopping
  }
  return { progress, ...(done && { done }) }
}

/** Goes on with a run that its server's end interrupted, unless another command has already. */
async function goOn(run: string, client: Context['client']): Promise<true> {
  await client.runs.resume(run).catch((error: unknown) => {
    if (!(error instanceof AthanorError && error.code === 'RUN_NOT_RESUMABLE')) throw error
  })
  return true
}
