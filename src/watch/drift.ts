import type { Manifest } from '../bundle/manifest.ts'
import { meaningOf } from '../drift/counting.ts'
import { type Judgement, judge } from '../drift/judge.ts'
import type { Reference } from '../drift/reference.ts'
import type { Window } from '../drift/sketch.ts'
import type { StoredWindow, Windows } from '../store/windows.ts'
import type { Alerts } from './alerts.ts'
import type { Metrics } from './metrics/metrics.ts'

/** A window this many times over the level is told of at once; below it, two in a row must be over the level. */
const CLEARLY = 1.5
/** Windows over which the estimated accuracy is averaged. */
const ESTIMATED_OVER = 4
/** Points of accuracy below which the estimate, or the labels, must fall. */
const DROP = 0.05

interface Which {
  name: string
  version: number
  manifest: Manifest
}

/** How the requests of a version compare with its held-out rows. */
export interface DriftReport {
  model: string
  version: number
  /** False where a version has no reference: too few held-out rows, or a graph that was imported without any. */
  watched: boolean
  reference?: Pick<Reference, 'rows' | 'accuracy'>
  drifted: { feature: string; meaning: string }[]
  estimatedAccuracy?: number
  /** Newest last. */
  windows: (Judgement & { at: string })[]
}

/** Judges the windows of requests that engines gather, keeps them, and raises alerts. */
export class Drift {
  readonly #windows: Windows
  readonly #alerts: Alerts
  readonly #metrics: Metrics
  /** One after another, so that "two in a row" means what it says. */
  #work: Promise<unknown> = Promise.resolve()

  constructor(windows: Windows, alerts: Alerts, metrics: Metrics) {
    this.#windows = windows
    this.#alerts = alerts
    this.#metrics = metrics
  }

  observe(which: Which, window: Window): Promise<void> {
    const work = this.#work.then(() => this.#judge(which, window))
    this.#work = work.catch(() => undefined)
    return work
  }

  async report({ name, version, manifest }: Which, limit = 40): Promise<DriftReport> {
    const { reference } = manifest
    const windows = judged(await this.#windows.list(name, version, limit))
    return {
      model: name,
      version,
      watched: reference !== undefined,
      ...(reference && {
        reference: {
          rows: reference.rows,
          ...(reference.accuracy !== undefined && { accuracy: reference.accuracy }),
        },
      }),
      drifted: alarming(windows).map((feature) => ({ feature, meaning: meaningOf(feature) })),
      ...estimated(windows),
      windows,
    }
  }

  async #judge({ name, version, manifest }: Which, window: Window) {
    const { reference } = manifest
    if (!reference) return
    await this.#windows.add(name, version, judge(window, reference))
    const windows = judged(await this.#windows.list(name, version, ESTIMATED_OVER))
    const { distances } = windows.at(-1)!
    const found = alarming(windows)
    const about = { model: name, version }
    this.#metrics.drifted({ ...about, distances, ...estimated(windows) })
    const [worst] = found.toSorted((a, b) => excess(distances[b]) - excess(distances[a]))
    // between the two, an open alert stays open and a closed one closed
    if (worst) {
      const { distance, level } = distances[worst]
      const message = `${name}@${version}: ${[...new Set(found.map(meaningOf))].join('; ')}`
      await this.#alerts.set({ rule: 'drift', ...about }, { message, value: distance, level })
    } else if (windows.at(-1)!.drifted.length === 0) await this.#alerts.set({ rule: 'drift', ...about })
    const { estimatedAccuracy } = estimated(windows)
    const { accuracy } = reference
    if (windows.length < ESTIMATED_OVER || estimatedAccuracy === undefined || accuracy === undefined) return
    const level = accuracy - DROP
    const message = `${name}@${version}: about ${percent(estimatedAccuracy)} of the answers are right, ${percent(accuracy)} on held-out rows`
    await this.#alerts.set(
      { rule: 'estimatedAccuracy', ...about },
      estimatedAccuracy < level ? { message, value: estimatedAccuracy, level } : undefined,
    )
  }
}

const judged = (stored: readonly StoredWindow[]) =>
  stored.map(({ at, judgement }) => ({ ...(judgement as Judgement), at }))

const excess = ({ distance, level }: { distance: number; level: number }) => distance / level
const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** Features that the newest window shows clearly, or the newest two both show. */
function alarming(windows: readonly Judgement[]): string[] {
  const [before, last] = [windows.at(-2), windows.at(-1)]
  if (!last) return []
  return last.drifted.filter((name) => before?.drifted.includes(name) || excess(last.distances[name]) > CLEARLY)
}

/** The mean estimate of the newest windows; nothing for what has no labels. */
function estimated(windows: readonly Judgement[]): { estimatedAccuracy?: number } {
  const recent = windows.slice(-ESTIMATED_OVER).flatMap(({ estimatedAccuracy }) => estimatedAccuracy ?? [])
  if (recent.length === 0) return {}
  return { estimatedAccuracy: recent.reduce((sum, one) => sum + one, 0) / recent.length }
}
