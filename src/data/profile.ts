import type { Problem } from '../base/problem.ts'
import type { Profile } from './report.ts'
import { mainScript } from './text.ts'

/** Gathers a profile row by row. */
export class Profiler {
  readonly #labels: readonly string[]
  readonly #problem: Problem
  readonly #sets: readonly (readonly number[])[]
  readonly #labelCounts: number[]
  readonly #lengths: number[] = []
  readonly #characters: number[] = []
  readonly #values: number[] = []
  readonly #scripts = new Map<string, number>()
  #tokens = 0
  #unknown = 0

  constructor(labels: readonly string[], problem: Problem, sets: readonly (readonly number[])[]) {
    this.#labels = labels
    this.#problem = problem
    this.#sets = sets
    this.#labelCounts = labels.map(() => 0)
  }

  add(text: string, target: number, ids: Int32Array) {
    if (this.#problem === 'regression') this.#values.push(target)
    else for (const label of this.#problem === 'multi-label' ? this.#sets[target] : [target]) this.#labelCounts[label]++
    this.#lengths.push(ids.length)
    this.#characters.push(text.length)
    const script = mainScript(text)
    this.#scripts.set(script, (this.#scripts.get(script) ?? 0) + 1)
    this.#tokens += ids.length
    for (const id of ids) if (id === 1) this.#unknown++
  }

  profile(): Profile {
    const rows = this.#lengths.length
    const share = (count: number) => Number((count / Math.max(1, rows)).toFixed(4))
    return {
      rows,
      lengths: percentiles(this.#lengths),
      characters: percentiles(this.#characters),
      scripts: Object.fromEntries(
        [...this.#scripts].sort((a, b) => b[1] - a[1]).map(([name, count]) => [name, share(count)]),
      ),
      labels: Object.fromEntries(this.#labels.map((name, i) => [name, share(this.#labelCounts[i])])),
      ...(this.#problem === 'regression' && { values: spread(this.#values) }),
      tokens: this.#tokens,
      unknownRate: Number((this.#unknown / Math.max(1, this.#tokens)).toFixed(5)),
    }
  }
}

function percentiles(values: readonly number[]): Record<string, number> {
  const sorted = Float64Array.from(values).sort()
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
  return { p5: at(0.05), p50: at(0.5), p95: at(0.95), max: at(1) }
}

/** Mean, standard deviation and range of numbers. */
function spread(values: readonly number[]): Record<string, number> {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  const { p5, p50, p95 } = percentiles(values)
  const [min, max] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity])
  return { mean, deviation: Math.sqrt(variance), min, p5, p50, p95, max }
}
