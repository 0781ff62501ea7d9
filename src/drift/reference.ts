import { type Static, Type } from 'typebox'
import { random } from '../base/random.ts'
import { jensenShannon } from './distance.ts'
import { count, type Feature, featureNames, noCounts, type Observed } from './features.ts'
import { WINDOW } from './sketch.ts'

/** Held-out rows below which nothing can be said of what is normal. */
const FEWEST = 200
/** Windows drawn from the held-out rows to learn how far apart normal windows lie. */
const DRAWS = 200
/** Deviations above the mean distance of normal windows from which on a distance is not normal. */
const DEVIATIONS = 6

const Numbers = Type.Array(Type.Number())

/** What the held-out rows of a version look like to it: the measure of what is normal. */
export const Reference = Type.Object({
  rows: Type.Integer(),
  counts: Type.Record(Type.String(), Numbers),
  /** By feature: the Jensen-Shannon distance of a window from which on it is not normal. */
  levels: Type.Record(Type.String(), Type.Number()),
  accuracy: Type.Number(),
  /** The confidence that as large a share of held-out rows exceeds as are right (Garg et al. 2022). */
  confidence: Type.Number(),
})
export type Reference = Static<typeof Reference>

/**
 * The reference of held-out rows as the model saw them, with `right` telling which it got right; undefined when they are
 * too few. Levels are learnt by drawing windows from one half of the rows and comparing them with the other.
 */
export function referenceOf(rows: readonly (Observed & { right: boolean })[], seed = 1): Reference | undefined {
  if (rows.length < FEWEST) return undefined
  const counts = noCounts()
  const confidences = rows.map((row) => ({ confidence: count(counts, row), right: row.right }))
  const accuracy = confidences.filter(({ right }) => right).length / rows.length
  return {
    rows: rows.length,
    counts: Object.fromEntries(featureNames.map((name) => [name, trimmed(counts[name])])),
    levels: levelsOf(rows, random(seed)),
    accuracy,
    confidence: thresholdOf(
      confidences.map(({ confidence }) => confidence, accuracy),
      accuracy,
    ),
  }
}

function levelsOf(rows: readonly Observed[], next: () => number): Record<Feature, number> {
  const distances = Object.fromEntries(featureNames.map((name) => [name, [] as number[]])) as Record<Feature, number[]>
  for (let draw = 0; draw < DRAWS; draw++) {
    // two parts that share no row, as future requests share none with the held-out rows
    const [known, window] = [noCounts(), noCounts()]
    const others: Observed[] = []
    for (const row of rows) {
      if (next() < 0.5) count(known, row)
      else others.push(row)
    }
    if (others.length === 0) continue
    for (let i = 0; i < WINDOW; i++) count(window, others[Math.floor(next() * others.length)])
    for (const name of featureNames) distances[name].push(jensenShannon(known[name], window[name]))
  }
  return Object.fromEntries(
    featureNames.map((name) => {
      const all = distances[name]
      const mean = all.reduce((a, b) => a + b, 0) / all.length
      const deviation = Math.sqrt(all.reduce((sum, d) => sum + (d - mean) ** 2, 0) / all.length)
      return [name, Math.max(mean + DEVIATIONS * deviation, 0.005)]
    }),
  ) as Record<Feature, number>
}

/** The confidence above which a share of the rows lies. */
function thresholdOf(confidences: readonly number[], share: number): number {
  const sorted = [...confidences].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.round((1 - share) * sorted.length))]
}

/** Counts without the zeros at their end. */
const trimmed = (counts: readonly number[]) => counts.slice(0, counts.findLastIndex((n) => n > 0) + 1)
