import {
  count,
  countRead,
  type Feature,
  features,
  noCounts as noTextCounts,
  type Observed,
  type Read,
} from './features.ts'
import { type Measured, meanings } from './measures.ts'

/** Counts by feature and bin. */
export type Counts = Record<string, number[]>

/** How rows of one kind are counted, as distributions over bins. */
export interface Counting<Row> {
  noCounts(): Counts
  /** Adds a row; gives the confidence of its label where it has one. */
  count(counts: Counts, row: Row): number | undefined
}

export const textCounting: Counting<Observed> = {
  noCounts: noTextCounts,
  count: (counts, row) => count(counts as Record<Feature, number[]>, row),
}

/** Texts that are read, by the features that are counted of them. */
export const readCounting = (names: readonly string[]): Counting<Read> => ({
  noCounts: () => Object.fromEntries(names.map((name) => [name, zeros(features[name as Feature].bins)])),
  count(counts, row) {
    countRead(counts, row)
    return undefined
  },
})

const zeros = (bins: number) => new Array<number>(bins).fill(0)

/** By measure: the values between its bins, in rising order. */
export type Edges = Readonly<Record<string, readonly number[]>>

/** Bins of a measure that hold as many of the reference's rows each. */
const BINS = 20

/** Bins that the rows fill evenly; where many are equal, fewer. What is no number has a bin of its own, the last. */
export function edgesOf(rows: readonly Measured[]): Edges {
  return Object.fromEntries(
    Object.keys(rows[0].measures).map((name) => {
      const values = rows.map(({ measures }) => measures[name]).filter(Number.isFinite)
      const sorted = Float64Array.from(values).sort()
      const cuts = Array.from({ length: BINS - 1 }, (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / BINS)])
      const edges = new Set(cuts.filter((value) => value !== undefined))
      // what lies beyond all that was seen is told apart from the outermost of it
      if (sorted.length > 0) edges.add(sorted[0]).add(afterOf(sorted.at(-1)!))
      return [name, [...edges].sort((a, b) => a - b)]
    }),
  )
}

/** The next number that a double can tell from `value`, and some more: figures of other machines differ in their last digits. */
const afterOf = (value: number) => value + Math.max(1e-9, Math.abs(value) * 1e-6)

/** Rows of numbers, and of labels where there are probabilities. */
export function measuredCounting(edges: Edges, classes: boolean): Counting<Measured> {
  const names = Object.keys(edges)
  return {
    noCounts: () => ({
      ...Object.fromEntries(names.map((name) => [name, zeros(edges[name].length + 2)])),
      ...(classes && { label: zeros(features.label.bins), confidence: zeros(features.confidence.bins) }),
    }),
    count(counts, { measures, probabilities }) {
      for (const name of names) {
        const value = measures[name]
        counts[name][Number.isFinite(value) ? binOf(edges[name], value) : edges[name].length + 1]++
      }
      if (!classes || !probabilities) return undefined
      let best = 0
      for (let i = 1; i < probabilities.length; i++) if (probabilities[i] > probabilities[best]) best = i
      const confidence = probabilities[best]
      counts.label[Math.min(features.label.bins - 1, best)]++
      counts.confidence[Math.min(features.confidence.bins - 1, Math.floor(confidence * features.confidence.bins))]++
      return confidence
    },
  }
}

/** How many of the edges lie at or below a value. */
function binOf(edges: readonly number[], value: number): number {
  let [low, high] = [0, edges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (edges[middle] <= value) low = middle + 1
    else high = middle
  }
  return low
}

const known = (name: string) => features[name as Feature] as (typeof features)[Feature] | undefined

/** Whether the bins of a feature follow one another. */
export const isOrdered = (name: string): boolean => known(name)?.ordered ?? true

/** What it means that a feature is not as it was. */
export const meaningOf = (name: string): string =>
  known(name)?.meaning ??
  meanings[name] ??
  (name.startsWith('direction ') ? meanings.similarity : `${name} takes other values`)
