import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import { holdsImages } from '../data/images/names.ts'
import { type EncoderFamily, encoderFamily, ratesByTuning } from '../nn/encoder-family.ts'
import { families } from '../nn/families.ts'
import type { Family } from '../nn/family.ts'
import type { RunSpec } from './events.ts'
import { loopOptions, type Option, type Options, resolveOptions, textOptions } from './options.ts'
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
  /** Only measure the version on the data: what it scores, or also what the rows look like to it. */
  measure?: 'score' | 'reference'
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

const { heldOutRows, heldInRows, wordDropout: _, crop: __, ...pipelineOptions } = textOptions

type TaskName = keyof typeof tasks
type AnyFamily = Family | EncoderFamily
const everyFamily: Readonly<Record<string, AnyFamily>> = { ...families, encoder: encoderFamily }

const tasksOf = (family: AnyFamily): readonly TaskName[] => ('tasks' in family ? [...family.tasks] : [family.task])

/** Whether a model is to be chosen: asked for, or nothing was said that belongs to one family or another task. */
export const isAuto = ({ model, task = TEXTS, family, from, options, search, folds }: RunSpec): boolean =>
  model === 'auto' ||
  (task === TEXTS && [family, from, search, folds].every((one) => one === undefined) && !Object.keys(options ?? {})[0])
const TEXTS = 'text-classification'

/** The family for data of this kind, where none was asked for; undefined for texts, for which there are several. */
function defaultFamily(dataset: string, filename: string, from?: string): string | undefined {
  const images = holdsImages(dataset) || holdsImages(filename)
  if (from !== undefined) return images ? 'onnx-images' : 'onnx'
  return images ? 'resnet' : undefined
}

/**
 * A specification with its family, for data of this name, and with the version that it goes on from by number: a name may
 * mean another one when the run goes on after a pause. Where that is a text classifier, its sizes stay as they are. Throws
 * UNSUPPORTED and OPTION_INVALID.
 */
export function withBase(spec: RunSpec, filename: string, base: TrainJob['from'] | undefined): RunSpec {
  const { manifest } = base ?? {}
  const goesOn = manifest?.task === 'text-generation' || manifest?.task === TEXTS
  const family =
    spec.family ??
    (manifest?.encoder !== undefined
      ? 'encoder'
      : spec.task !== undefined || goesOn
        ? manifest?.family
        : defaultFamily(spec.dataset, filename, spec.from))
  const known = { ...spec, ...(family !== undefined && { family }), ...(base && { from: base.ref }) }
  if (manifest?.task !== TEXTS || manifest.encoder !== undefined) {
    const ofTexts = Object.hasOwn(families, family ?? '') && families[family as keyof typeof families].task === TEXTS
    if (base && ofTexts) throw fail('OPTION_INVALID', { option: 'from', reason: `not for the family ${family}` })
    return known
  }
  if (family !== manifest.family || !Object.hasOwn(families, manifest.family))
    throw fail('UNSUPPORTED', {
      what: `training ${base!.ref}, a text classifier of the family ${manifest.family}, further as ${family}`,
      instead: 'Versions of one family that were trained here can be, as what they are; of others, train a new one.',
    })
  const several = spec.folds !== undefined ? 'folds' : spec.search ? 'search' : undefined
  if (several) throw fail('OPTION_INVALID', { option: several, reason: 'not for a version that is trained further' })
  const sizes = Object.keys(families[manifest.family as keyof typeof families].options)
  const stays = [...sizes, ...Object.keys(pipelineOptions)].filter((name) => name !== 'dropout')
  const trained = manifest.lineage.options ?? {}
  for (const name of stays) {
    const [asked, was] = [spec.options?.[name], trained[name]]
    if (asked !== undefined && asked !== was)
      throw fail('OPTION_INVALID', { option: name, reason: `it stays ${was}, as ${base!.ref} has it` })
  }
  const kept = stays.flatMap((name) => (trained[name] == null ? [] : [[name, trained[name]] as const]))
  return { ...known, options: { ...Object.fromEntries(kept), ...spec.options } } as RunSpec
}

/** The family and the task of a run; throws OPTION_INVALID for what does not go together. */
export function familyOf(spec: RunSpec): { name: string; family: AnyFamily; task: TaskName } {
  const { task: asked, from } = spec
  const refuse = (option: string, reason: string, suggestion?: string) =>
    fail('OPTION_INVALID', { option, reason }, suggestion === undefined ? {} : { suggestion })
  if (asked !== undefined && !Object.hasOwn(tasks, asked)) {
    const known = Object.keys(tasks)
    throw refuse('task', `expected one of ${known.join(', ')}, got "${asked.slice(0, 80)}"`, suggest(asked, known))
  }
  const able = Object.entries(everyFamily).filter(([, one]) => tasksOf(one).includes(asked as TaskName))
  const starts = (one: AnyFamily) => 'tasks' in one || 'imported' in one
  const first = (able.find(([, one]) => starts(one) === (from !== undefined)) ?? able[0])?.[0]
  const name = spec.family ?? first ?? defaultFamily(spec.dataset, '', from) ?? 'lstm'
  if (!Object.hasOwn(everyFamily, name)) {
    const known = Object.keys(everyFamily)
    throw refuse('family', `expected one of ${known.join(', ')}, got "${name.slice(0, 80)}"`, suggest(name, known))
  }
  const family = everyFamily[name]
  const known = tasksOf(family)
  const task = known.find((one) => one === (asked ?? known[0]))
  if (!task) throw refuse('family', `"${name}" is for ${known.join(', ')}`)
  if ('tasks' in family && from === undefined) throw refuse('from', `the family ${name} starts from a published model`)
  if ('imported' in family && from === undefined)
    throw refuse('from', `the family ${name} trains a model given as "from"`)
  if (!starts(family) && task !== 'text-generation' && task !== TEXTS && from !== undefined)
    throw refuse('from', `not for the family ${name}`)
  if (task !== TEXTS && (spec.folds !== undefined || spec.search))
    throw refuse(spec.search ? 'search' : 'folds', `only for ${TEXTS}, not for ${task}`)
  return { name, family, task }
}

/** All options of a family: those of the loop and of its task with the family's defaults, and its own. */
function optionTable(family: AnyFamily): Record<string, Option> {
  const { options, defaults = {} } = family
  // a published encoder brings its preprocessing with it
  const preprocessing = 'tasks' in family ? { heldOutRows, heldInRows } : tasks[family.task].options
  const common = Object.entries<Option>({ ...preprocessing, ...loopOptions }).map(([name, option]) => [
    name,
    { ...option, default: defaults[name] ?? option.default },
  ])
  return { ...Object.fromEntries(common), ...options }
}

/** Their values for a specification; throws OPTION_INVALID. */
export function optionsOf(spec: RunSpec): Options {
  const { family } = familyOf(spec)
  const given = (spec.options ?? {}) as Options
  const options = resolveOptions(optionTable(family), given)
  if ('tasks' in family && given.learningRate === undefined)
    options.learningRate = ratesByTuning[String(options.tuning)]
  return options
}

/** Every family with its tasks (`task` is what it does if not told otherwise), description and options. */
export const describeFamilies = () =>
  Object.entries(everyFamily).map(([name, family]) => ({
    name,
    task: tasksOf(family)[0],
    tasks: [...tasksOf(family)],
    description: family.description,
    options: optionTable(family),
  }))
