import { fail } from '../base/errors.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import { holdsImages } from '../data/images/names.ts'
import { families } from '../nn/families.ts'
import type { Family } from '../nn/family.ts'
import type { RunSpec } from './events.ts'
import { loopOptions, type Option, type Options, resolveOptions } from './options.ts'
import type { RunJob } from './process.ts'
import { tasks } from './tasks.ts'

/** A source of data where the training process can read it: a file, or `npm:…`. */
export interface DataSource {
  path: string
  name: string
}

export interface TrainJob extends RunJob {
  spec: RunSpec
  dataset: DataSource
  validation?: DataSource
  /** A folder with rows that are cleaned already, which several trainings share. */
  cleaned?: string
  /** Which of several folds is held out. */
  fold?: { of: number; held: number }
  /** Only look at the data. */
  advise?: boolean
  /** The version that training goes on from, or an uploaded ONNX file, of which no more is known. */
  from?: { ref: string; manifest?: Manifest; files: Record<string, string> }
}

/** What training ends with: a bundle in a folder and what it scored on the held-out split. */
export interface TrainResult {
  bundle: string
  metrics: Metrics
  /** How long it took, pauses left out. */
  seconds: number
}

/** Whether a model is to be chosen: asked for, or nothing was said that belongs to one family or another task. */
export const isAuto = ({ model, task = TEXTS, family, from, options, search, folds }: RunSpec): boolean =>
  model === 'auto' ||
  (task === TEXTS && [family, from, search, folds].every((one) => one === undefined) && !Object.keys(options ?? {})[0])
const TEXTS = 'text-classification'

/** The family for data of this kind, where none was asked for; undefined for texts, for which there are several. */
export function defaultFamily(dataset: string, filename: string, from?: string): string | undefined {
  const images = holdsImages(dataset) || holdsImages(filename)
  if (from !== undefined) return images ? 'onnx-images' : 'onnx'
  return images ? 'resnet' : undefined
}

export function familyOf(spec: RunSpec): { name: string; family: Family } {
  const { task } = spec
  if (task !== undefined && !Object.hasOwn(tasks, task))
    throw fail('OPTION_INVALID', {
      option: 'task',
      reason: `expected one of ${Object.keys(tasks).join(', ')}, got "${task.slice(0, 80)}"`,
    })
  const first = Object.entries<Family>(families).find(([, family]) => family.task === task)?.[0]
  const name = spec.family ?? first ?? 'lstm'
  if (!Object.hasOwn(families, name)) {
    throw fail('OPTION_INVALID', {
      option: 'family',
      reason: `expected one of ${Object.keys(families).join(', ')}, got "${name}"`,
    })
  }
  const family: Family = families[name as keyof typeof families]
  if (task !== undefined && family.task !== task)
    throw fail('OPTION_INVALID', { option: 'family', reason: `"${name}" is for ${family.task}` })
  const imported = 'imported' in family
  if (imported ? spec.from === undefined : spec.from !== undefined && family.task !== 'text-generation') {
    const reason = imported ? `the family ${name} trains a model given as "from"` : `not for the family ${name}`
    throw fail('OPTION_INVALID', { option: 'from', reason })
  }
  return { name, family }
}

/** All options of a family: those of the loop and of its task with the family's defaults, and its own. */
function optionTable({ task, options, defaults = {} }: Family): Record<string, Option> {
  const common = Object.entries<Option>({ ...tasks[task].options, ...loopOptions }).map(([name, option]) => [
    name,
    { ...option, default: defaults[name] ?? option.default },
  ])
  return { ...Object.fromEntries(common), ...options }
}

/** Their values for a specification; throws OPTION_INVALID. */
export const optionsOf = (spec: RunSpec): Options =>
  resolveOptions(optionTable(familyOf(spec).family), (spec.options ?? {}) as Options)

/** Every family with its task, description and options. */
export const describeFamilies = () =>
  Object.entries<Family>(families).map(([name, family]) => ({
    name,
    task: family.task,
    description: family.description,
    options: optionTable(family),
  }))
