import { AthanorError, type RefineSpec, type TrainEvent } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { exitCodes } from '../context.ts'
import { follow, tellRun } from '../follow.ts'
import { type GateEvent, showGate, showTried } from '../gates.ts'
import { wholeNumber } from '../reading.ts'
import { duration } from '../terminal.ts'
import { upload } from '../upload.ts'
import { settings } from './train.ts'

export interface RefineOptions {
  quantize?: string
  prune?: string
  distil?: string
  passes?: string
  goal?: string
  tolerance?: string
  force?: boolean
  name?: string
  heldOut?: string
  text?: string
  label?: string
  encoding?: string
  seed?: string
  set?: string[]
}

/** Refines a version, shows what was measured, and tells what was registered; a refused one ends with exit code 3. */
export async function refine(context: Context, model: string, data: string | undefined, options: RefineOptions) {
  const { client, out } = context
  const spec = await specOf(context, model, data, options)
  const { run } = await client.refine(spec)
  tellRun(context, run)
  const gates: GateEvent[] = []
  const watch = (event: TrainEvent) => {
    if (event.type === 'gate') gates.push(event)
    if (event.type === 'pass') out.say(`${event.name}: ${event.note}`)
    if (event.type === 'trying') out.say(`${event.number} of ${event.of}: ${out.style('bold', event.what)}`)
    if (event.type === 'state' && event.state === 'measuring') out.redraw(['measuring against the source …'])
  }
  try {
    const { done } = await follow(run, context, watch)
    const chosen = gates.findLast((gate) => gate.chosen)
    if (!done) {
      const { state } = await client.runs.get(run)
      if (out.json) out.document({ run, state })
      else out.say(`run ${run} is ${state}`)
      process.exitCode = exitCodes.interrupted
      return
    }
    if (out.json) return out.document({ model: done.model, version: done.version, run, gate: chosen, tried: gates })
    showTried(context, gates)
    if (chosen) showGate(context, chosen)
    if (chosen?.forced) out.say(`${out.style('yellow', '!')} forced, though ${chosen.reasons.join('; ')}`)
    out.say(`${out.style('green', '✓')} done in ${duration(done.seconds)}`)
    out.data(`${done.model}@${done.version}`)
    out.next(`athanor show ${done.model} --versions`, `athanor deploy ${done.model} --canary ${done.version}`)
  } catch (error) {
    const last = gates.at(-1)
    if (!(error instanceof AthanorError && error.code === 'GATE_REFUSED' && last)) throw error
    if (out.json) {
      const { code, status, message, hint } = error
      out.document({ error: { code, status, message, hint }, run, gate: last, tried: gates })
      process.exitCode = exitCodes.refused
      return
    }
    showTried(context, gates)
    showGate(context, last)
    throw error
  }
}

async function specOf(
  context: Context,
  model: string,
  data: string | undefined,
  options: RefineOptions,
): Promise<RefineSpec> {
  const { quantize, prune, distil, goal, tolerance, force, name, heldOut, text, label, encoding } = options
  const passes = [
    ...(options.passes === undefined ? [] : parsePasses(options.passes)),
    ...(distil === undefined ? [] : [{ name: 'distil', options: { family: distil } }]),
    ...(prune === undefined ? [] : [{ name: 'prune', options: { share: shareOf(prune) } }]),
    ...(quantize === undefined ? [] : [{ name: 'quantize', options: { scheme: quantize } }]),
  ]
  const read = Object.fromEntries(Object.entries({ text, label, encoding }).filter(([, value]) => value !== undefined))
  return {
    refine: model,
    ...(passes.length > 0 && { passes }),
    ...(goal !== undefined && { goal }),
    ...(tolerance !== undefined && { tolerance }),
    ...(force && { force }),
    ...(name !== undefined && { name }),
    ...(heldOut !== undefined && { heldOut: await upload(heldOut, context) }),
    ...(data !== undefined && { data: await upload(data, context) }),
    ...(Object.keys(read).length > 0 && { read }),
    ...(options.seed !== undefined && { seed: wholeNumber('seed', options.seed) }),
    ...(options.set && { options: settings(options.set) }),
  }
}

/** `trim,clip:percentile=99.9` → the passes with their options. */
function parsePasses(text: string): NonNullable<RefineSpec['passes']> {
  return text.split(',').map((part) => {
    const [name, ...given] = part.trim().split(':')
    return given.length === 0 ? { name } : { name, options: settings(given) }
  })
}

/** `50%`, `0.5` → 0.5. */
function shareOf(text: string): number {
  const value = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text)
  if (!(value > 0 && value < 1))
    throw fail('OPTION_INVALID', { option: 'prune', reason: `expected a share such as 0.5 or 50%, got "${text}"` })
  return value
}
