import { fail } from '../../base/errors.ts'
import { suggest } from '../../base/suggest.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { type Measured, type MeasureName, measures } from './measures.ts'

/** A bound on a measure's change: percentage points for shares (`accuracy>=-0.5pt`), a ratio for the others (`size<=0.3`). */
export interface Bound {
  readonly measure: MeasureName
  readonly operator: '<=' | '>='
  readonly value: number
}

/** Bounds to keep, and one measure to make as good as can be. */
export interface Goal {
  readonly bounds: readonly Bound[]
  readonly best?: MeasureName
}

/** What a refined version is held to where nothing else is asked for. */
export const defaultTolerance =
  'accuracy>=-0.5pt,perplexity<=1.03,agreement>=90%,latency<=1.1,throughput>=0.9,size<=1.05,memory<=1.25'

/**
 * Reads `size<=0.3,accuracy>=-0.5pt,latency=min`. `agreement` alone is a share in itself: `agreement>=98%`. Throws
 * OPTION_INVALID naming the part that cannot be read.
 */
export function parseGoal(text: string, option = 'goal'): Goal {
  const bounds: Bound[] = []
  let best: MeasureName | undefined
  for (const part of text.split(',').map((one) => one.trim())) {
    if (part === '') continue
    const found = /^([a-zA-Z0-9]+)\s*(<=|>=|=)\s*(min|max|[+-]?\d+(?:\.\d+)?)\s*(pt|%|x)?$/.exec(part)
    if (!found) {
      throw fail('OPTION_INVALID', {
        option,
        reason: `cannot read "${part.slice(0, 40)}"; write it as size<=0.3, accuracy>=-0.5pt or latency=min`,
      })
    }
    const [, name, operator, value] = found
    if (!Object.hasOwn(measures, name)) {
      const known = Object.keys(measures)
      throw fail(
        'OPTION_INVALID',
        { option, reason: `no measure "${name.slice(0, 40)}"; there are ${known.join(', ')}` },
        { suggestion: suggest(name, known) },
      )
    }
    const measure = name as MeasureName
    const wanted = measures[measure].better === 'higher' ? 'max' : 'min'
    if (operator === '=') {
      if (value !== wanted || best)
        throw fail('OPTION_INVALID', { option, reason: `one measure at most can be best, as in ${measure}=${wanted}` })
      best = measure
    } else {
      if (value === 'min' || value === 'max')
        throw fail('OPTION_INVALID', { option, reason: `expected a number in "${part}"` })
      bounds.push({ measure, operator: operator as Bound['operator'], value: Number(value) })
    }
  }
  return { bounds, ...(best && { best }) }
}

/** Tasks whose agreement means something else: a cosine of 0.9 is another vector. */
const stricter: Partial<Record<Manifest['task'], string>> = { 'feature-extraction': 'agreement>=98%' }

/** The tolerance with the defaults of a task where it says nothing of a measure. */
export function parseTolerance(text: string | undefined, task?: Manifest['task']): Goal {
  const given = parseGoal(text ?? '', 'tolerance')
  const defaults = [task && stricter[task], defaultTolerance].flatMap((one) => parseGoal(one ?? '').bounds)
  const bounds = new Map([...given.bounds, ...defaults].toReversed().map((bound) => [bound.measure, bound]))
  const own = new Set(given.bounds.map(({ measure }) => measure))
  return { ...given, bounds: [...given.bounds, ...[...bounds.values()].filter(({ measure }) => !own.has(measure))] }
}

/** How much a measured change misses a bound by; 0 or less when it is kept. */
export function missedBy({ measure, operator, value }: Bound, table: readonly Measured[]): number {
  const line = table.find(({ name }) => name === measure)
  if (!line) return 0 // not measured for this task
  // agreement has no value at the source: its bound is on the share itself
  const at = measure === 'agreement' ? line.refined * 100 : line.change
  return operator === '<=' ? at - value : value - at
}
