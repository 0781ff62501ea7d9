import { AthanorError } from '../base/errors.ts'
import type { TrainEvent } from '../train/events.ts'
import { resolveOptions } from '../train/options.ts'
import { type Goal, missedBy } from './gate/goal.ts'
import { type Measured, type MeasureName, measures } from './gate/measures.ts'
import type { Step } from './job.ts'
import type { Pass, PassContext } from './pass.ts'
import { passes } from './passes.ts'

/** A pass with the options that the search sets, e.g. `quantize` to int8. */
type Choice = readonly [name: keyof typeof passes, options?: Record<string, number | string>]

const tidy: Choice = ['tidy']
const quantizers: readonly Choice[] = (['float16', 'int8', 'int8-static', 'int8-weights', 'int4'] as const).map(
  (scheme) => ['quantize', { scheme }],
)

/** Combinations that need no training, and those that do: they are tried when none of the first keeps the bounds. */
const cheap: readonly (readonly Choice[])[] = [
  [tidy],
  ...quantizers.map((quantizer) => [tidy, quantizer]),
  [tidy, ['clip', { percentile: 99.9 }], ['quantize', { scheme: 'int8' }]],
]
const dear: readonly (readonly Choice[])[] = [0.3, 0.5, 0.7].flatMap((share) => [
  [['prune', { share }], tidy],
  [['prune', { share }], tidy, ['quantize', { scheme: 'int8' }]],
])

/** Combinations to try, cheap ones first. */
export function combinations(context: PassContext): { cheap: Step[][]; dear: Step[][] } {
  const steps = (choices: readonly Choice[]): Step[] =>
    choices.map(([name, options = {}]) => {
      const pass: Pass = passes[name]
      return { name, pass, options: resolveOptions(pass.options, options) }
    })
  return { cheap: cheap.map(steps), dear: context.training.data ? dear.map(steps) : [] }
}

/** A combination that was measured, and what came of it. */
export interface Tried<Result> {
  readonly what: string
  readonly table: readonly Measured[]
  readonly result: Result
}

/** Measures that Pareto's order looks at; agreement only bounds. */
const compared: readonly MeasureName[] = ['accuracy', 'perplexity', 'latency', 'throughput', 'size', 'memory']
/** Differences below these are the machine's, not the model's. */
const noise: Partial<Record<MeasureName, number>> = {
  latency: 0.03,
  throughput: 0.03,
  memory: 0.03,
  size: 0.001,
  accuracy: 0.01,
  perplexity: 0.002,
}

/** How much better `a` is than `b` in a measure, above what is noise; 0 where neither is. */
function better(a: readonly Measured[], b: readonly Measured[], name: MeasureName): number {
  const [one, other] = [a, b].map((table) => table.find((line) => line.name === name)?.change)
  if (one === undefined || other === undefined) return 0
  const gain = measures[name].better === 'higher' ? one - other : other - one
  return Math.abs(gain) <= (noise[name] ?? 0) ? 0 : gain
}

/** Those that no other is at least as good as in all measures and better than in one. */
export const paretoBest = <Result>(all: readonly Tried<Result>[]): Tried<Result>[] =>
  all.filter(
    ({ table }) =>
      !all.some((other) => {
        const gains = compared.map((name) => better(other.table, table, name))
        return gains.every((gain) => gain >= 0) && gains.some((gain) => gain > 0)
      }),
  )

/**
 * The combination to take: of those within the bounds the best by the goal's measure (by size if it names none); where none
 * keeps them, the one that misses them least.
 */
export function choose<Result>(
  all: readonly Tried<Result>[],
  { bounds, best = 'size' }: Goal,
): Tried<Result> | undefined {
  const missed = ({ table }: Tried<Result>) =>
    bounds.reduce((sum, bound) => {
      const by = Math.max(0, missedBy(bound, table))
      return sum + (measures[bound.measure].kind === 'share' ? by / 10 : by) // ten points weigh as much as once the source's size
    }, 0)
  const gain = ({ table }: Tried<Result>) => {
    const change = table.find(({ name }) => name === best)?.change ?? 0
    return measures[best].better === 'higher' ? change : -change
  }
  return all.toSorted((a, b) => missed(a) - missed(b) || gain(b) - gain(a))[0]
}

/** Whether all bounds are kept. */
export const within = ({ table }: { table: readonly Measured[] }, { bounds }: Goal): boolean =>
  bounds.every((bound) => missedBy(bound, table) <= 1e-9)

/** What a combination cannot do for this version is told and passed over; anything else is a failure. */
export const passedOver = (error: unknown): TrainEvent | undefined =>
  error instanceof AthanorError && (error.code === 'UNSUPPORTED' || error.code === 'BAD_REQUEST')
    ? { type: 'pass', name: 'passed over', note: error.message }
    : undefined
