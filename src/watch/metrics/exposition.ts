import { Buckets } from './buckets.ts'
import type { State } from './state.ts'
import { metricTable } from './table.ts'

export const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** The text of a scrape: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4. */
export function exposition(state: State): string {
  const lines: string[] = []
  for (const { name, kind, help, labels, read } of metricTable) {
    const before = lines.length
    for (const [values, value] of read(state)) {
      const pairs = labels.map((label, i) => `${label}="${escaped(values[i])}"`)
      if (value instanceof Buckets) histogram(lines, name, pairs, value)
      else lines.push(`${name}${braces(pairs)} ${number(value)}`)
    }
    if (lines.length > before) lines.splice(before, 0, `# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`)
  }
  return `${lines.join('\n')}\n`
}

function histogram(lines: string[], name: string, pairs: readonly string[], { bounds, counts, sum, count }: Buckets) {
  let below = 0
  bounds.forEach((bound, i) => {
    below += counts[i]
    lines.push(`${name}_bucket${braces([`le="${bound}"`, ...pairs])} ${below}`)
  })
  lines.push(`${name}_bucket${braces(['le="+Inf"', ...pairs])} ${count}`)
  lines.push(`${name}_sum${braces(pairs)} ${number(sum)}`, `${name}_count${braces(pairs)} ${count}`)
}

const braces = (pairs: readonly string[]) => (pairs.length > 0 ? `{${pairs.join(',')}}` : '')
const escaped = (value: string) => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
const number = (value: number) =>
  value === Number.POSITIVE_INFINITY ? '+Inf' : value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
