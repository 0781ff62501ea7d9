import { jensenShannon, kolmogorovSmirnov, populationStability } from './distance.ts'
import { type Feature, featureNames, features } from './features.ts'
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
  distances: Record<Feature, Distance>
  drifted: Feature[]
  estimatedAccuracy: number
}

/** Compares a window of requests with the reference of its version. */
export function judge(window: Window, reference: Reference): Judgement {
  const distances = Object.fromEntries(
    featureNames.map((name): [Feature, Distance] => {
      const counts = window.counts[name]
      const stored = reference.counts[name] ?? []
      const known = counts.map((_, bin) => stored[bin] ?? 0)
      const distance = jensenShannon(known, counts)
      const stability = populationStability(known, counts)
      const level = reference.levels[name] ?? 1
      return [
        name,
        { distance, level, stability, ...(features[name].ordered && { largest: kolmogorovSmirnov(known, counts) }) },
      ]
    }),
  ) as Record<Feature, Distance>
  return {
    rows: window.rows,
    distances,
    drifted: featureNames.filter((name) => distances[name].distance > distances[name].level),
    estimatedAccuracy: window.certain / window.rows,
  }
}
