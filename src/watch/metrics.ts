import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type ErrorCode, errors } from '../base/errors.ts'
import type { Timings } from '../engine/messages.ts'

const seconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const model = ['model', 'version'] as const

/** Every metric of the server: one table of name, kind, meaning and labels. Times are seconds, sizes bytes. */
const table = {
  requests: [Counter, 'athanor_requests_total', 'Inference requests', ['model', 'version', 'door']],
  errors: [
    Counter,
    'athanor_request_errors_total',
    'Inference requests that failed, by error code',
    ['model', 'door', 'code'],
  ],
  duration: [
    Histogram,
    'athanor_request_duration_seconds',
    'Time from receiving a request to its answer',
    ['model', 'version', 'door'],
    seconds,
  ],
  queue: [Histogram, 'athanor_queue_seconds', 'Time a request waited before its batch was formed', model, seconds],
  pre: [Histogram, 'athanor_preprocess_seconds', 'Time to tokenise a round of requests', model, seconds],
  run: [Histogram, 'athanor_run_seconds', 'Time to run the batch that a request was in', model, seconds],
  post: [Histogram, 'athanor_postprocess_seconds', 'Time to take a request’s answer out of its batch', model, seconds],
  batch: [
    Histogram,
    'athanor_batch_size',
    'Rows in the batch that a request was in',
    model,
    [1, 2, 4, 8, 16, 32, 64, 128],
  ],
  firstToken: [
    Histogram,
    'athanor_first_token_seconds',
    'Time from receiving a generation to its first token',
    ['model', 'version', 'door'],
    seconds,
  ],
  tokens: [
    Counter,
    'athanor_tokens_total',
    'Tokens of prompts read and of texts written',
    ['model', 'version', 'kind'],
  ],
  drift: [
    Gauge,
    'athanor_drift_distance',
    'Jensen-Shannon divergence of the last window of requests from the held-out rows',
    [...model, 'feature'],
  ],
  driftLevel: [Gauge, 'athanor_drift_level', 'The divergence from which on it is not normal', [...model, 'feature']],
  estimated: [
    Gauge,
    'athanor_estimated_accuracy',
    'Share of recent answers that are right, estimated without labels',
    model,
  ],
  waiting: [Gauge, 'athanor_engine_waiting', 'Requests waiting for or in an engine', model],
  engineMemory: [Gauge, 'athanor_engine_resident_memory_bytes', 'Resident memory of an engine', model],
  engineCpu: [Gauge, 'athanor_engine_cpu_seconds', 'Processor time an engine has used since its start', model],
  crashes: [Counter, 'athanor_engine_crashes_total', 'Deaths of engine processes', model],
  runs: [Gauge, 'athanor_training_runs_active', 'Training runs going on or queued', []],
  http: [
    Histogram,
    'athanor_http_duration_seconds',
    'Time to answer an HTTP request',
    ['method', 'route', 'status'],
    seconds,
  ],
  memory: [Gauge, 'process_resident_memory_bytes', 'Resident memory of the server process', []],
  cpu: [Gauge, 'process_cpu_seconds_total', 'Processor time the server process has used', []],
  delay: [
    Gauge,
    'athanor_event_loop_delay_seconds',
    'Delay of the server’s event loop since the last scrape',
    ['quantile'],
  ],
} as const

type Kinds = { [K in keyof typeof table]: InstanceType<(typeof table)[K][0]> }

/** An engine's figures at the time of a scrape. */
export interface EngineSample {
  model: string
  version: number
  waiting: number
  stats?: { rss: number; cpuSeconds: number }
}

/** The server's metrics in Prometheus' text format. */
export class Metrics {
  readonly #registry = new Registry()
  readonly #metrics: Kinds
  readonly #totals = new Map<string, { answered: number; failed: number }>()
  readonly #delay = monitorEventLoopDelay({ resolution: 10 })

  constructor() {
    const made = Object.entries(table).map(([key, [Kind, name, help, labelNames, buckets]]) => {
      const options = {
        name,
        help,
        labelNames: [...labelNames],
        registers: [this.#registry],
        ...(buckets && { buckets: [...buckets] }),
      }
      return [key, new (Kind as typeof Counter)(options)]
    })
    this.#metrics = Object.fromEntries(made) as Kinds
    this.#delay.enable()
  }

  /** Counts an answered request. `total` in milliseconds, from when the door received it. */
  answered(which: { model: string; version: number; door: string }, timings: Timings, total: number) {
    const { model, version, door } = which
    const labels = { model, version: String(version) }
    const m = this.#metrics
    m.requests.inc({ ...labels, door })
    m.duration.observe({ ...labels, door }, total / 1000)
    for (const stage of ['queue', 'pre', 'run', 'post'] as const) m[stage].observe(labels, timings[stage] / 1000)
    m.batch.observe(labels, timings.batch)
    this.#total(model).answered++
  }

  /** Counts a finished generation; times in milliseconds from when the door received it. */
  generated(
    which: { model: string; version: number; door: string },
    usage: { promptTokens: number; completionTokens: number },
    first: number,
    total: number,
  ) {
    const { model, version, door } = which
    const labels = { model, version: String(version) }
    const m = this.#metrics
    m.requests.inc({ ...labels, door })
    m.duration.observe({ ...labels, door }, total / 1000)
    m.firstToken.observe({ ...labels, door }, first / 1000)
    m.tokens.inc({ ...labels, kind: 'prompt' }, usage.promptTokens)
    m.tokens.inc({ ...labels, kind: 'completion' }, usage.completionTokens)
  }

  /** Counts a failed request; an unknown model is counted under no name, so that callers cannot make up labels. */
  failed(which: { model?: string; door: string }, code: ErrorCode) {
    this.#metrics.errors.inc({ model: which.model ?? '', door: which.door, code })
    if (which.model !== undefined && errors[code][0] >= 500) this.#total(which.model).failed++
  }

  /** Sets what the newest window of requests says. */
  drifted(
    model: string,
    version: number,
    distances: Readonly<Record<string, { distance: number; level: number }>>,
    estimatedAccuracy: number,
  ) {
    const labels = { model, version: String(version) }
    for (const [feature, { distance, level }] of Object.entries(distances)) {
      this.#metrics.drift.set({ ...labels, feature }, distance)
      this.#metrics.driftLevel.set({ ...labels, feature }, level)
    }
    this.#metrics.estimated.set(labels, estimatedAccuracy)
  }

  crashed(model: string, version: number) {
    this.#metrics.crashes.inc({ model, version: String(version) })
  }

  answeredHttp(method: string, route: string, status: number, ms: number) {
    this.#metrics.http.observe({ method, route, status: String(status) }, ms / 1000)
  }

  /** The text of a scrape. */
  async text(engines: readonly EngineSample[], activeRuns: number): Promise<string> {
    const m = this.#metrics
    for (const gauge of [m.waiting, m.engineMemory, m.engineCpu]) gauge.reset()
    for (const { model, version, waiting, stats } of engines) {
      const labels = { model, version: String(version) }
      m.waiting.set(labels, waiting)
      if (!stats) continue
      m.engineMemory.set(labels, stats.rss)
      m.engineCpu.set(labels, stats.cpuSeconds)
    }
    m.runs.set(activeRuns)
    const { user, system } = process.cpuUsage()
    m.cpu.set((user + system) / 1e6)
    m.memory.set(process.memoryUsage.rss())
    for (const quantile of [0.5, 0.99])
      m.delay.set({ quantile: String(quantile) }, this.#delay.percentile(quantile * 100) / 1e9)
    this.#delay.reset()
    return this.#registry.metrics()
  }

  /** A version's figures in the shape of the Open Inference Protocol's statistics extension. */
  async statistics(model: string, version: number) {
    const has = (labels: Partial<Record<string, string | number>>) =>
      labels.model === model && labels.version === String(version)
    const total = async (metric: Histogram<string>) => {
      const { values } = await metric.get()
      const pick = (end: string) =>
        values
          .filter(({ labels, metricName }) => has(labels) && metricName?.endsWith(end))
          .reduce((sum, { value }) => sum + value, 0)
      return { count: pick('_count'), ns: Math.round(pick('_sum') * 1e9) }
    }
    const m = this.#metrics
    const failures = (await m.errors.get()).values.filter(({ labels }) => labels.model === model)
    const failed = failures.reduce((sum, { value }) => sum + value, 0)
    const [success, queue, pre, run, post] = await Promise.all([m.duration, m.queue, m.pre, m.run, m.post].map(total))
    return {
      name: model,
      version: String(version),
      inference_count: success.count,
      inference_stats: {
        success,
        fail: { count: failed, ns: 0 },
        queue,
        compute_input: pre,
        compute_infer: run,
        compute_output: post,
      },
    }
  }

  /** Requests answered, and failed by the server's own fault, of each model since the start. */
  get totals(): ReadonlyMap<string, Readonly<{ answered: number; failed: number }>> {
    return this.#totals
  }

  #total(model: string) {
    const known = this.#totals.get(model)
    if (known) return known
    const fresh = { answered: 0, failed: 0 }
    this.#totals.set(model, fresh)
    return fresh
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  close() {
    this.#delay.disable()
  }
}
