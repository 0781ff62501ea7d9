import { isOrdered } from './counting.ts'
import { jensenShannon, kolmogorovSmirnov, populationStability } from './distance.ts'
import type { Reference } from './reference.ts'
import type { Window } from './sketch.ts'

interface Distance {
  /** Jensen-Shannon divergence from the reference, and the level from which on it is not normal. */
  distance: number
  level: number
  /** Population stability index. */
  stability: number
  /** Kolmogorov-Smirnov distance, of ordered features. */
  largest?: number
}

/** What a window says: how far it is from the reference by feature, and what share of it is probably right. */
export interface Judgement {
  rows: number
  distances: Record<string, Distance>
  drifted: string[]
  /** Absent for what has no labels. */
  estimatedAccuracy?: number
}

/** Compares a window of requests with the reference of its version. */
export function judge({ rows, counts, certain }: Window, reference: Reference): Judgement {
  const names = Object.keys(counts)
  const distances = Object.fromEntries(
    names.map((name): [string, Distance] => {
      const stored = reference.counts[name] ?? []
      const known = counts[name].map((_, bin) => stored[bin] ?? 0)
      const distance = jensenShannon(known, counts[name])
      const stability = populationStability(known, counts[name])
      const level = reference.levels[name] ?? 1
      return [
        name,
        { distance, level, stability, ...(isOrdered(name) && { largest: kolmogorovSmirnov(known, counts[name]) }) },
      ]
    }),
  )
  return {
    rows,
    distances,
    drifted: names.filter((name) => distances[name].distance > distances[name].level),
    ...(certain !== undefined && { estimatedAccuracy: certain / rows }),
  }
}
