import type { Span } from '../history/history.ts'
import { Tally } from '../history/tally.ts'
import type { Machine } from '../resources/machine.ts'
import type { Condition } from './rule.ts'
import { type MachineSeries, ofMachine, ofRequests, watchedSeries } from './series.ts'

/**
 * What was counted of each model in a stretch that ended so many milliseconds ago, and how long it was: it begins with a
 * whole minute or hour.
 */
export type Counted = (
  span: Span,
  length: number,
  ago?: number,
) => Promise<{ tallies: ReadonlyMap<string, Tally>; seconds: number }>

/** What a rule found of a model (empty for the machine): nothing is said of what cannot be told. */
export interface Finding {
  model: string
  value: number
  level: number
  met: boolean
  message: string
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/**
 * Windows of the burn rate: an objective's errors of 30 days, spent in the long window at `rate` times the even pace, and
 * still in the short one. Google's Site Reliability Workbook, chapter 5, table 5-8.
 */
const burns = [
  { rate: 14.4, long: HOUR, short: 5 * MINUTE, urgency: 'page' },
  { rate: 6, long: 6 * HOUR, short: 30 * MINUTE, urgency: 'page' },
  { rate: 1, long: 72 * HOUR, short: 6 * HOUR, urgency: 'ticket' },
] as const
/** Requests of the long window from which on a pace can be told. */
const ENOUGH = 20

/** What a rule says now of every model, or of the machine. */
export async function judgeRule(condition: Condition, counted: Counted, machine: Machine): Promise<Finding[]> {
  if (condition.kind === 'burn') return burn(condition, counted)
  if (condition.kind === 'change') return change(condition, counted)
  const { series, above, level, over } = condition
  const met = (value: number) => (above ? value > level : value < level)
  const message = (value: number) =>
    `${series} is ${show(series, value)}, ${above ? 'over' : 'under'} ${show(series, level)}`
  if (Object.hasOwn(ofMachine, series)) {
    const value = ofMachine[series as MachineSeries].now(machine)
    return value === undefined ? [] : [{ model: '', value, level, met: met(value), message: message(value) }]
  }
  const { of } = ofRequests[series as keyof typeof ofRequests]
  const { tallies, seconds } = await counted(spanFor(over), over)
  return [...tallies].flatMap(([model, tally]): Finding[] => {
    const value = of(tally, seconds)
    return value === undefined ? [] : [{ model, value, level, met: met(value), message: message(value) }]
  })
}

/** A stretch compared with the one before it. */
async function change(
  { series, rises, by, over }: Extract<Condition, { kind: 'change' }>,
  counted: Counted,
): Promise<Finding[]> {
  const { of } = ofRequests[series]
  const [now, before] = await Promise.all([counted(spanFor(over), over), counted(spanFor(over), over, over)])
  return [...before.tallies].flatMap(([model, tally]): Finding[] => {
    const was = tally.counts.requests < ENOUGH ? undefined : of(tally, before.seconds)
    const is = of(now.tallies.get(model) ?? new Tally(), now.seconds)
    if (!was || is === undefined) return []
    const value = (is - was) / was
    const message = `${series} went from ${show(series, was)} to ${show(series, is)}`
    return [{ model, value, level: rises ? by : -by, met: rises ? value > by : value < -by, message }]
  })
}

async function burn({ target, within }: Extract<Condition, { kind: 'burn' }>, counted: Counted): Promise<Finding[]> {
  const missed = ({ counts, latency }: Tally) => counts.errors + (within === undefined ? 0 : latency.above(within))
  /** How many times faster than evenly over 30 days the allowed failures are spent. */
  const pace = (tally: Tally | undefined) =>
    tally && tally.counts.requests > 0 ? missed(tally) / tally.counts.requests / (1 - target) : 0
  const windows = await Promise.all(
    burns.map(async (window) => ({
      ...window,
      long: (await counted(spanFor(window.long), window.long)).tallies,
      short: (await counted(spanFor(window.short), window.short)).tallies,
    })),
  )
  return [...windows.at(-1)!.long].map(([model]): Finding => {
    const paces = windows.map(({ rate, long, short, urgency }) => {
      const enough = (long.get(model)?.counts.requests ?? 0) >= ENOUGH
      return { rate, urgency, value: enough ? Math.min(pace(long.get(model)), pace(short.get(model))) : 0 }
    })
    const found = paces.find(({ value, rate }) => value > rate)
    const { value, rate, urgency } = found ?? paces.at(-1)!
    const objective = `${+(100 * target).toFixed(4)} %${within === undefined ? '' : ` within ${+(1000 * within).toFixed(3)} ms`}`
    const message = `failures allowed by ${objective} are spent ${value.toPrecision(3)} times too fast (${urgency})`
    return { model, value, level: rate, met: found !== undefined, message }
  })
}

/** Minutes for up to an hour, hours for more: few rows are read either way. */
const spanFor = (length: number): Span => (length > HOUR ? 'hour' : 'minute')

function show(series: keyof typeof watchedSeries, value: number): string {
  const { unit } = watchedSeries[series]
  if (unit === 'share') return `${+(100 * value).toFixed(2)} %`
  if (unit === 'seconds') return value < 1 ? `${+(1000 * value).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`
  return unit === 'perSecond' ? `${+value.toPrecision(3)}/s` : String(+value.toPrecision(3))
}
