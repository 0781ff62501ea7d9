import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import type { Row } from './dataset.ts'

/**
 * What rows are taught as numbers: the index of a label, the index of a set of labels, or the value itself. Labels are
 * put in a fixed order at the end, whatever order the rows came in.
 */
export class Targets {
  readonly problem: Problem
  readonly #names = new Map<string, number>()
  readonly #sets = new Map<string, number>()
  readonly #members: number[][] = []

  constructor(problem: Problem) {
    this.problem = problem
  }

  /** The target of a row; undefined when it has none. Throws DATA_MALFORMED for a value that is no number. */
  of(row: Row, source: string): number | undefined {
    const { label, labels, line } = row
    if (this.problem === 'multi-label') return labels && this.#setOf(labels.map((name) => this.#labelOf(name)))
    if (label === undefined) return undefined
    if (this.problem === 'classification') return this.#labelOf(label)
    const value = Number(label)
    if (!Number.isFinite(value))
      throw fail('DATA_MALFORMED', { source, line, reason: `"${label.slice(0, 40)}" is not a number` })
    return value
  }

  /** Labels in their final order, sets of them by index, and the final number of each target. */
  finish(source: string, known?: readonly string[]) {
    const stranger = known && [...this.#names.keys()].find((name) => !known.includes(name))
    if (stranger !== undefined)
      throw fail('LABEL_UNKNOWN', { source, label: stranger.slice(0, 80), labels: known!.join(', ').slice(0, 300) })
    const labels = known ? [...known] : [...this.#names.keys()].sort(byNumberThenText)
    const place = new Map(labels.map((name, i) => [this.#names.get(name) ?? -1, i]))
    const sets = this.#members.map((members) => members.map((label) => place.get(label)!).sort((a, b) => a - b))
    const final = (target: number) => (this.problem === 'classification' ? place.get(target)! : target)
    return { labels, sets, final }
  }

  #labelOf(name: string): number {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    this.#names.set(name, this.#names.size)
    return this.#names.size - 1
  }

  #setOf(members: number[]): number {
    const sorted = [...new Set(members)].sort((a, b) => a - b)
    const key = sorted.join()
    const known = this.#sets.get(key)
    if (known !== undefined) return known
    this.#sets.set(key, this.#members.length)
    return this.#members.push(sorted) - 1
  }
}

const byNumberThenText = (a: string, b: string) => Number(a) - Number(b) || (a < b ? -1 : 1)

const BINS = 10

/**
 * The stratum of each row for splitting: its label; of several, the rarest; of numbers, the tenth of the rows by value
 * that it lies in.
 */
export function strataOf(
  problem: Problem,
  targets: ArrayLike<number>,
  sets: readonly (readonly number[])[],
): Int32Array {
  if (problem === 'classification') return Int32Array.from(targets)
  if (problem === 'multi-label') {
    const counts = new Map<number, number>()
    for (let row = 0; row < targets.length; row++)
      for (const label of sets[targets[row]]) counts.set(label, (counts.get(label) ?? 0) + 1)
    return Int32Array.from(targets, (target) =>
      sets[target].reduce(
        (rarest, label) => (rarest < 0 || counts.get(label)! < counts.get(rarest)! ? label : rarest),
        -1,
      ),
    )
  }
  const sorted = Float64Array.from(targets).sort()
  const edges = Array.from({ length: BINS - 1 }, (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / BINS)])
  return Int32Array.from(targets, (value) => edges.filter((edge) => value >= edge).length)
}
