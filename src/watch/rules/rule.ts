import { fail } from '../../base/errors.ts'
import { suggest } from '../../base/suggest.ts'
import { type MachineSeries, type RequestSeries, watchedSeries } from './series.ts'

/**
 * What a rule says. Durations are milliseconds; levels are in the unit of their series: shares 0 to 1, seconds, numbers a
 * second.
 */
export type Condition =
  | { kind: 'level'; series: RequestSeries | MachineSeries; above: boolean; level: number; over: number }
  | { kind: 'change'; series: RequestSeries; rises: boolean; by: number; over: number }
  /** An objective: the share of requests that must succeed, and within how many seconds. */
  | { kind: 'burn'; target: number; within?: number }

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const OVER = 5 * units.m
const LONGEST = 6 * units.h

const usage =
  'write e.g. "p99 > 500ms over 5m", "errors > 2%", "requests falls 50% over 10m", "burn 99.9%" or "burn 99% within 300ms"'

/**
 * Reads a rule: `series > level [over time]`, `series < level`, `series rises|falls percent [over time]`, or
 * `burn target% [within time]`. Throws ALERT_RULE_INVALID.
 */
export function parseRule(text: string): Condition {
  const invalid = (reason: string, suggestion?: string) =>
    fail('ALERT_RULE_INVALID', { rule: text.slice(0, 100), reason }, { ...(suggestion && { suggestion }) })
  const words = text.trim().split(/\s+/)
  if (words[0] === 'burn') {
    const target = percent(words[1])
    if (target === undefined || target <= 0 || target >= 1)
      throw invalid(`expected a share below 100 % after "burn"; ${usage}`)
    const within = words[2] === undefined ? undefined : duration(words[3])
    if (words[2] !== undefined && (words[2] !== 'within' || within === undefined || words.length > 4))
      throw invalid(usage)
    return { kind: 'burn', target, ...(within !== undefined && { within: within / 1000 }) }
  }
  const [series, verb, amount, word, time] = words
  if (!isSeries(series)) {
    const names = Object.keys(watchedSeries)
    throw invalid(`nothing called "${series.slice(0, 40)}" is watched`, suggest(series, names) ?? names.join(', '))
  }
  if (words.length !== 3 && (words.length !== 5 || word !== 'over')) throw invalid(usage)
  const over = time === undefined ? OVER : duration(time)
  if (over === undefined || over < units.m || over > LONGEST) throw invalid('expected 1m to 6h after "over"')
  if (verb === 'rises' || verb === 'falls') {
    const by = percent(amount)
    if (by === undefined || by <= 0) throw invalid(`expected a percentage after "${verb}"`)
    if (!isOfRequests(series)) throw invalid(`"${series}" is of the machine now: compare it with > or <`)
    return { kind: 'change', series, rises: verb === 'rises', by, over }
  }
  if (verb !== '>' && verb !== '<') throw invalid(usage)
  const level = levelOf(series, amount)
  if (level === undefined) throw invalid(`"${amount}" is no ${watchedSeries[series].unit}`)
  return { kind: 'level', series, above: verb === '>', level, over }
}

const isSeries = (name: string): name is keyof typeof watchedSeries => Object.hasOwn(watchedSeries, name)
const isOfRequests = (name: keyof typeof watchedSeries): name is RequestSeries =>
  !['memory', 'disk', 'load'].includes(name)

function levelOf(series: keyof typeof watchedSeries, text: string): number | undefined {
  const { unit } = watchedSeries[series]
  if (unit === 'share') return percent(text)
  if (unit === 'seconds') {
    const time = duration(text)
    return time === undefined ? undefined : time / 1000
  }
  return number(text)
}

/** `500ms`, `1.5s`, `5m`, `6h`, `3d`, in milliseconds. */
function duration(text = ''): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []
  return unit === undefined ? undefined : Number(amount) * units[unit]
}

/** `5%`, as a share. */
function percent(text = ''): number | undefined {
  const [, amount] = /^(\d+(?:\.\d+)?)%$/.exec(text) ?? []
  return amount === undefined ? undefined : Number(amount) / 100
}

function number(text: string): number | undefined {
  return /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : undefined
}
