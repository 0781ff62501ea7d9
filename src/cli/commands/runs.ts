import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { figures } from '../figures.ts'
import { type GateEvent, showGate, showTried } from '../gates.ts'
import { TrainProgress } from '../progress.ts'
import { ago } from '../terminal.ts'

/** One run: what it has told since it was last queued, how it stands, why it failed and what comes next. One that goes on is followed. */
export async function tellOf(context: Context, name: string) {
  const { client, out, signal } = context
  if (out.json) return out.document(await client.runs.get(name))
  const progress = new TrainProgress(out)
  const gates: GateEvent[] = []
  for await (const event of client.runs.events(name, { signal })) {
    progress.show(event)
    if (event.type === 'gate') gates.push(event)
  }
  out.clear()
  showTried(context, gates)
  const chosen = gates.findLast((gate) => gate.chosen)
  if (chosen) showGate(context, chosen)
  const { run, model, version, state, createdAt, metrics, error } = await client.runs.get(name)
  const what = version === undefined ? model : `${model}@${version}`
  out.data(`${run}   ${what}   ${state}${metrics ? `   ${figures(metrics)}` : ''}   begun ${ago(createdAt)}`)
  if (error) {
    out.prose(`${error.code}: ${error.message}`)
    out.prose(`  ${error.hint}`)
  }
  if (state === 'done') out.next(`athanor show ${what}`)
  // what the run itself was wrong about goes wrong again
  else if (state === 'interrupted' || (state === 'failed' && error!.status >= 500))
    out.next(`athanor train --resume ${run}`)
  else if (state === 'failed') out.next(`athanor ps ${run} --remove`)
}

/** Ends a run for good, whether it goes on, was interrupted or failed, and removes its files. Throws OPTION_INVALID for none. */
export async function removeRun({ client, out }: Context, name: string | undefined) {
  if (name === undefined)
    throw fail('OPTION_INVALID', { option: 'remove', reason: 'name the run: athanor ps RUN --remove' })
  const run = await client.runs.cancel(name)
  if (out.json) return out.document(run)
  out.say(`${run.run} is ${run.state} and keeps no files; what it told:  athanor ps ${run.run}`)
}
