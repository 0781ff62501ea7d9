import type { Machine, ProcessUse } from '../resources/machine.ts'
import type { Buckets } from './buckets.ts'
import type { Series } from './series.ts'

/** An engine's figures at the time of a scrape. */
export interface EngineSample {
  model: string
  version: number
  waiting: number
  stats?: { batches: number }
  use?: ProcessUse
}

/** Generations under way of one version: before their first token, and after it. */
export interface Live {
  model: string
  version: number
  waiting: number
  running: number
}

/** How far the last window of a version's requests lies from its held-out rows. */
export interface Drifted {
  model: string
  version: number
  distances: Readonly<Record<string, { distance: number; level: number }>>
  estimatedAccuracy?: number
}

/** All that metrics are read from: what was counted, and samples of this moment. */
export interface State {
  series: readonly Series[]
  live: readonly Live[]
  engines: readonly EngineSample[]
  drifted: readonly Drifted[]
  /** Deaths of engines by `model@version`. */
  crashes: ReadonlyMap<string, number>
  /** Time to answer by `method route status`, in seconds. */
  http: ReadonlyMap<string, Buckets>
  activeRuns: number
  openAlerts: ReadonlyMap<string, number>
  server: ProcessUse
  /** Delay of the event loop in seconds by percentile. */
  delay: ReadonlyMap<string, number>
  machine: Machine
}
