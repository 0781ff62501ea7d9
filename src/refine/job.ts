import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { RefineSpec } from '../train/events.ts'
import type { DataSource } from '../train/job.ts'
import { type Options, resolveOptions } from '../train/options.ts'
import type { RunJob } from '../train/process.ts'
import { parseGoal, parseTolerance } from './gate/goal.ts'
import type { Pass } from './pass.ts'
import { passes } from './passes.ts'

/** What the process of a refinement is sent. */
export interface RefineJob extends RunJob {
  readonly spec: RefineSpec
  readonly source: { name: string; version: number; manifest: Manifest; files: Record<string, string> }
  readonly heldOut?: DataSource
  /** The training data, where it was given or found. */
  readonly data?: DataSource
}

/** A pass with its options settled. */
export interface Step {
  readonly name: string
  readonly pass: Pass
  readonly options: Options
}

/** Throws UNSUPPORTED for versions that no pass can change, or whose quality is not measured. */
export function checkRefinable({ engine = 'onnx', problem = 'classification' }: Manifest) {
  if (engine !== 'onnx')
    throw fail('UNSUPPORTED', {
      what: `refining a version that the engine ${engine} runs`,
      instead: 'Models that are kept here as ONNX graphs can be refined.',
    })
  if (problem !== 'classification')
    throw fail('UNSUPPORTED', {
      what: `refining a classifier of the kind ${problem}`,
      instead: 'Classifiers that give each text one label can be refined.',
    })
}

/** The passes of a specification in order; throws OPTION_INVALID for what cannot be done, or not in this order. */
export function stepsOf({ passes: asked, goal, tolerance }: RefineSpec): Step[] {
  parseTolerance(tolerance)
  if (goal !== undefined) parseGoal(goal)
  if (!asked === (goal === undefined)) {
    throw fail('OPTION_INVALID', { option: 'passes', reason: 'expected either passes or a goal' })
  }
  const steps = (asked ?? []).map(({ name, options = {} }) => {
    if (!Object.hasOwn(passes, name)) {
      const known = Object.keys(passes)
      throw fail(
        'OPTION_INVALID',
        { option: 'passes', reason: `no pass "${name.slice(0, 40)}"; there are ${known.join(', ')}` },
        { suggestion: suggest(name, known) },
      )
    }
    const pass: Pass = passes[name as keyof typeof passes]
    return { name, pass, options: resolveOptions(pass.options, options) }
  })
  const quantized = steps.findIndex(({ name }) => name === 'quantize')
  const after = quantized >= 0 && steps.slice(quantized + 1).find(({ pass }) => pass.wantsFloats)
  if (after)
    throw fail('OPTION_INVALID', { option: 'passes', reason: `${after.name} works on floats: put it before quantize` })
  return steps
}

/** A refinement in a word or two, e.g. `trim + int8`. */
export const nameOf = (steps: readonly Pick<Step, 'name' | 'options'>[]): string =>
  steps
    .map(({ name, options }) => {
      if (name === 'quantize') return String(options.scheme)
      if (name === 'distil') return `distil ${options.family}`
      return name === 'prune' ? `prune ${Math.round(Number(options.share) * 100)}%` : name
    })
    .join(' + ')
