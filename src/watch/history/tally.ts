import { errors } from '../../base/errors.ts'
import type { HistoryRow } from '../../store/history.ts'
import type { Served } from '../metrics/served.ts'
import { Sketch } from './sketch.ts'

const counts = ['requests', 'rows', 'errors', 'refused', 'promptTokens', 'completionTokens'] as const
type Count = (typeof counts)[number]

interface Quantiles {
  p50: number
  p95: number
  p99: number
}

/** What a stretch of time says, as it is told: latencies in seconds. */
export interface Point extends Record<Count, number> {
  latency?: Quantiles
  firstToken?: Quantiles
}

/** What is counted of a stretch of time; tallies of parts add up to that of the whole. */
export class Tally {
  readonly #counts: Record<Count, number> = {
    requests: 0,
    rows: 0,
    errors: 0,
    refused: 0,
    promptTokens: 0,
    completionTokens: 0,
  }
  readonly latency = new Sketch()
  readonly firstToken = new Sketch()

  add({ ms, rows, written, code }: Served) {
    const c = this.#counts
    c.requests++
    c.rows += rows
    if (code !== undefined) {
      // by the server's own fault, or by the caller's (or too many of them)
      if (errors[code][0] >= 500) c.errors++
      else c.refused++
      return
    }
    this.latency.add(ms / 1000)
    if (!written) return
    c.promptTokens += written.usage.promptTokens
    c.completionTokens += written.usage.completionTokens
    this.firstToken.add(written.first / 1000)
  }

  merge(other: Tally) {
    for (const name of counts) this.#counts[name] += other.#counts[name]
    this.latency.merge(other.latency)
    this.firstToken.merge(other.firstToken)
  }

  get counts(): Readonly<Record<Count, number>> {
    return this.#counts
  }

  get point(): Point {
    return {
      ...this.#counts,
      ...(this.latency.count > 0 && { latency: quantiles(this.latency) }),
      ...(this.firstToken.count > 0 && { firstToken: quantiles(this.firstToken) }),
    }
  }

  static of(row: Pick<HistoryRow, Count | 'latency' | 'firstToken'>): Tally {
    const tally = new Tally()
    for (const name of counts) tally.#counts[name] = row[name]
    tally.latency.merge(Sketch.parse(row.latency))
    tally.firstToken.merge(Sketch.parse(row.firstToken))
    return tally
  }
}

const quantiles = (sketch: Sketch): Quantiles => ({
  p50: sketch.quantile(0.5)!,
  p95: sketch.quantile(0.95)!,
  p99: sketch.quantile(0.99)!,
})
