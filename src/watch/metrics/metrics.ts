import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Machine, ProcessUse } from '../resources/machine.ts'
import { Buckets } from './buckets.ts'
import { exposition } from './exposition.ts'
import { AllSeries, type Series, seconds } from './series.ts'
import type { Served } from './served.ts'
import type { Drifted, Live, State } from './state.ts'

/** What is sampled when metrics are read. */
export type Samples = Pick<State, 'engines' | 'activeRuns' | 'openAlerts'> & { server: ProcessUse; machine: Machine }

/** What the server counts of its requests; every name that it is told under is a view on this (table.ts). */
export class Metrics {
  readonly #series = new AllSeries()
  readonly #live = new Map<string, Live>()
  readonly #drifted = new Map<string, Drifted>()
  readonly #crashes = new Map<string, number>()
  readonly #http = new Map<string, Buckets>()
  /** Milliseconds between two looks: each wakes the process, and a hundred a second took most of what an idle server does. */
  readonly #delay = monitorEventLoopDelay({ resolution: 50 })

  constructor() {
    this.#delay.enable()
  }

  /** Counts a request that has ended. */
  observe(served: Served) {
    this.#series.add(served)
  }

  /** A generation has been asked for; call `begun` at its first token and `ended` however it ends. */
  asked(model: string, version: number): { begun(): void; ended(): void } {
    const key = `${model}@${version}`
    const live = this.#live.get(key) ?? { model, version, waiting: 0, running: 0 }
    this.#live.set(key, live)
    live.waiting++
    let state: 'waiting' | 'running' | 'ended' = 'waiting'
    const to = (next: typeof state) => {
      if (state === 'ended' || state === next) return
      live[state]--
      state = next
      if (next !== 'ended') live[next]++
    }
    return { begun: () => to('running'), ended: () => to('ended') }
  }

  /** Sets what the newest window of a version's requests says. */
  drifted(drifted: Drifted) {
    this.#drifted.set(`${drifted.model}@${drifted.version}`, drifted)
  }

  crashed(model: string, version: number) {
    const key = `${model}@${version}`
    this.#crashes.set(key, (this.#crashes.get(key) ?? 0) + 1)
  }

  /** Counts an answer of HTTP; `route` is one of the server's own, or `unknown`. */
  answeredHttp(method: string, route: string, status: number, ms: number) {
    const key = `${method} ${route} ${status}`
    let buckets = this.#http.get(key)
    if (!buckets) {
      buckets = new Buckets(seconds)
      this.#http.set(key, buckets)
    }
    buckets.add(ms / 1000)
  }

  /** What all metrics are read from; the event loop's delay is that since the last reading. */
  state(samples: Samples): State {
    const delay = new Map([50, 99].map((share) => [String(share), this.#delay.percentile(share) / 1e9]))
    this.#delay.reset()
    return {
      ...samples,
      series: [...this.#series],
      live: [...this.#live.values()],
      drifted: [...this.#drifted.values()],
      crashes: this.#crashes,
      http: this.#http,
      delay,
    }
  }

  /** The text of a scrape. */
  text(samples: Samples): string {
    return exposition(this.state(samples))
  }

  get series(): Iterable<Series> {
    return this.#series
  }

  /** A version's figures in the shape of the Open Inference Protocol's statistics extension. */
  statistics(model: string, version: number) {
    const own = [...this.#series].filter((one) => one.model === model && one.version === String(version))
    const total = (pick: (series: Series) => { count: number; sum: number }) => ({
      count: Math.round(own.reduce((sum, one) => sum + pick(one).count, 0)),
      ns: Math.round(own.reduce((sum, one) => sum + pick(one).sum, 0) * 1e9),
    })
    const sizes = [...new Set(own.flatMap(({ executions }) => [...executions.keys()]))].sort((a, b) => a - b)
    const ofSize = (size: number, part: 'pre' | 'run' | 'post') =>
      total(({ executions }) => {
        const { count = 0, [part]: sum = 0 } = executions.get(size) ?? {}
        return { count, sum }
      })
    const success = total(({ duration }) => duration)
    const failures = own.reduce((sum, { codes }) => sum + [...codes.values()].reduce((a, b) => a + b, 0), 0)
    const failedNs = Math.round(own.reduce((sum, { failedSeconds }) => sum + failedSeconds, 0) * 1e9)
    return {
      name: model,
      version: String(version),
      last_inference: Math.max(0, ...own.map(({ last }) => last)),
      inference_count: own.reduce((sum, { rows }) => sum + rows, 0),
      inference_stats: {
        success,
        fail: { count: failures, ns: failedNs },
        queue: total(({ queue }) => queue),
        compute_input: total(({ pre }) => pre),
        compute_infer: total(({ run }) => run),
        compute_output: total(({ post }) => post),
      },
      batch_stats: sizes.map((size) => ({
        batch_size: size,
        compute_input: ofSize(size, 'pre'),
        compute_infer: ofSize(size, 'run'),
        compute_output: ofSize(size, 'post'),
      })),
    }
  }

  close() {
    this.#delay.disable()
  }
}
