import { random } from '../base/random.ts'
import { type Static, Type } from '../base/schema.ts'
import { type Counting, edgesOf, measuredCounting, readCounting, textCounting } from './counting.ts'
import { jensenShannon } from './distance.ts'
import { featuresOf, type Observed, type Read } from './features.ts'
import { centroidOf, type Measured, vectorMeasures } from './measures.ts'
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
  /** Of what has labels. */
  accuracy: Type.Optional(Type.Number()),
  /** The confidence that as large a share of held-out rows exceeds as are right (Garg et al. 2022). */
  confidence: Type.Optional(Type.Number()),
  /** Of images, vectors and numbers: the values between the bins of each measure. */
  edges: Type.Optional(Type.Record(Type.String(), Numbers)),
  /** Of vectors: their mean. */
  centroid: Type.Optional(Numbers),
})
export type Reference = Static<typeof Reference>

/** Whether the model got a row right, where it has a label. */
type Judged<Row> = Row & { right?: boolean }

/** The reference of held-out texts as the model saw them; undefined when they are too few. */
export function referenceOf(rows: readonly Judged<Observed>[], seed = 1): Reference | undefined {
  return rows.length < FEWEST ? undefined : reference(textCounting, rows, seed)
}

/** The reference of held-out texts that are read, of which the same is known; undefined when they are too few. */
export function readReference(rows: readonly Read[], seed = 1): Reference | undefined {
  return rows.length < FEWEST ? undefined : reference(readCounting(featuresOf(rows[0])), rows, seed)
}

/** The reference of held-out images or rows of numbers; undefined when they are too few. */
export function measuredReference(rows: readonly Judged<Measured>[], seed = 1): Reference | undefined {
  if (rows.length < FEWEST) return undefined
  const edges = edgesOf(rows)
  const counting = measuredCounting(edges, rows[0].probabilities !== undefined)
  return { ...reference(counting, rows, seed), edges: mutable(edges) }
}

/** The reference of vectors of held-out texts; undefined when they are too few. */
export function vectorReference(vectors: readonly ArrayLike<number>[], seed = 1): Reference | undefined {
  if (vectors.length < FEWEST) return undefined
  const centroid = centroidOf(vectors)
  const rows = vectors.map((vector) => ({ measures: vectorMeasures(vector, centroid) }))
  const found = measuredReference(rows, seed)
  return found && { ...found, centroid }
}

const mutable = (edges: Readonly<Record<string, readonly number[]>>) =>
  Object.fromEntries(Object.entries(edges).map(([name, values]) => [name, [...values]]))

/** Levels are learnt by drawing windows from one half of the rows and comparing them with the other. */
function reference<Row>(counting: Counting<Row>, rows: readonly Judged<Row>[], seed: number): Reference {
  const counts = counting.noCounts()
  const confidences = rows.flatMap((row) => counting.count(counts, row) ?? [])
  const labelled = rows.every(({ right }) => right !== undefined) && confidences.length === rows.length
  const accuracy = rows.filter(({ right }) => right).length / rows.length
  return {
    rows: rows.length,
    counts: Object.fromEntries(Object.entries(counts).map(([name, bins]) => [name, trimmed(bins)])),
    levels: levelsOf(counting, rows, random(seed)),
    ...(labelled && { accuracy, confidence: thresholdOf(confidences, accuracy) }),
  }
}

function levelsOf<Row>(counting: Counting<Row>, rows: readonly Row[], next: () => number): Record<string, number> {
  const names = Object.keys(counting.noCounts())
  const distances = new Map(names.map((name) => [name, [] as number[]]))
  for (let draw = 0; draw < DRAWS; draw++) {
    // two parts that share no row, as future requests share none with the held-out rows
    const [known, window] = [counting.noCounts(), counting.noCounts()]
    const others: Row[] = []
    for (const row of rows) {
      if (next() < 0.5) counting.count(known, row)
      else others.push(row)
    }
    if (others.length === 0) continue
    for (let i = 0; i < WINDOW; i++) counting.count(window, others[Math.floor(next() * others.length)])
    for (const [name, all] of distances) all.push(jensenShannon(known[name], window[name]))
  }
  return Object.fromEntries(
    [...distances].map(([name, all]) => {
      const mean = all.reduce((a, b) => a + b, 0) / all.length
      const deviation = Math.sqrt(all.reduce((sum, d) => sum + (d - mean) ** 2, 0) / all.length)
      return [name, Math.max(mean + DEVIATIONS * deviation, 0.005)]
    }),
  )
}

/** The confidence above which a share of the rows lies. */
function thresholdOf(confidences: readonly number[], share: number): number {
  const sorted = [...confidences].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.round((1 - share) * sorted.length))]
}

/** Counts without the zeros at their end. */
const trimmed = (counts: readonly number[]) => counts.slice(0, counts.findLastIndex((n) => n > 0) + 1)
