import { cpus } from 'node:os'
import { type Goal, missedBy } from './goal.ts'
import { type Measured, type MeasureName, measures } from './measures.ts'

/** Whether a refined version may be registered, and why not, in sentences. */
export interface Verdict {
  readonly accepted: boolean
  /** Measures whose bounds are missed. */
  readonly missed: readonly MeasureName[]
  readonly reasons: readonly string[]
}

/** A change below this ratio or this many points is no gain. */
const GAIN = { ratio: 0.02, share: 0.05 }

/** Holds a table to the bounds; what gains nothing is refused as well. `what` names the refinement, e.g. `int8`. */
export function judge(table: readonly Measured[], { bounds }: Goal, what: string): Verdict {
  const missed = bounds.filter((bound) => missedBy(bound, table) > 1e-9)
  const reasons = missed.map(({ measure, operator, value }) => {
    const line = table.find(({ name }) => name === measure)!
    const limit = measures[measure].kind === 'share' ? `${value} points` : `${value}x`
    const asked = measure === 'agreement' ? `at least ${value} % was asked for` : `${operator} ${limit} was asked for`
    return `${sentence(line, what)}; ${asked}`
  })
  if (reasons.length === 0 && !table.some(gains))
    reasons.push(`${what} gains nothing here: no measure is better than before`)
  return { accepted: reasons.length === 0, missed: missed.map(({ measure }) => measure), reasons }
}

const gains = ({ name, change }: Measured): boolean => {
  const { kind, better } = measures[name]
  if (name === 'agreement') return false
  const gain = kind === 'share' ? change / 100 : change - 1
  return (better === 'higher' ? gain : -gain) > (kind === 'share' ? GAIN.share / 100 : GAIN.ratio)
}

/** A measure's change in words, e.g. `int8 is slower here: 1.40 ms a request against 1.05 ms (1.33x)`. */
function sentence({ name, source, refined, change }: Measured, what: string): string {
  const both = `${format(name, refined)} against ${format(name, source)}`
  const ratio = `${change.toFixed(2)}x`
  const cpu = cpus()[0]?.model.trim() ?? 'this machine'
  const words: Record<MeasureName, string> = {
    accuracy: `${what} loses accuracy: ${both} (${change.toFixed(2)} points)`,
    macroF1: `${what} loses macro-F1: ${both} (${change.toFixed(2)} points)`,
    perplexity: `${what} writes worse: perplexity ${both} (${ratio})`,
    agreement: `${what} answers otherwise than its source: it agrees by ${format(name, refined)}`,
    latency: `${what} is slower here (${cpu}): ${both} a request (${ratio})`,
    throughput: `${what} is slower here (${cpu}): ${both} (${ratio})`,
    size: `${what} is not small enough: ${both} (${ratio})`,
    memory: `${what} takes more memory: ${both} (${ratio})`,
  }
  return words[name]
}

/** A measure's value as a person reads it. */
function format(name: MeasureName, value: number): string {
  if (name === 'agreement') return `${(value * 100).toFixed(2)} %`
  if (name === 'perplexity') return value.toFixed(3)
  if (measures[name].kind === 'share') return value.toFixed(4)
  if (name === 'latency') return `${value.toFixed(2)} ms`
  if (name === 'throughput') return `${Math.round(value)} rows/s`
  return value < 1e6 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(2)} MB`
}
