import { currentTrace, newSpanId, newTraceId, parseTraceparent, type Trace } from '../../base/trace.ts'
import { ownNames } from '../metrics/own.ts'
import type { Served } from '../metrics/served.ts'
import type { State } from '../metrics/state.ts'
import { encodeMetrics, encodeSpans, type Span } from './encode.ts'
import { genaiMetrics, inferenceSpan } from './genai.ts'
import { send } from './sender.ts'
import type { Telemetry } from './settings.ts'

/** Spans that may wait to be sent, and that are sent at once (OTEL_BSP_MAX_QUEUE_SIZE and _EXPORT_BATCH_SIZE by default). */
const WAITING = 2048
const BATCH = 512

interface Answered {
  method: string
  route: string
  path: string
  status: number
  ms: number
}

/** Sends spans of requests and metrics to a collector of OpenTelemetry, beside the requests and bounded in memory. */
export class OpenTelemetry {
  readonly #settings: Telemetry
  readonly #version: string
  readonly #startedAt = Date.now()
  readonly #sources: { tenant: string; state: () => Promise<State> }[] = []
  readonly #timers: NodeJS.Timeout[]
  #spans: Span[] = []
  #dropped = 0
  #sending: Promise<void> = Promise.resolve()
  /** Told of what could not be sent. */
  onUnsent: (message: string) => void = () => {}

  constructor(settings: Telemetry, version: string) {
    this.#settings = settings
    this.#version = version
    this.#timers = [
      setInterval(() => void this.#sendSpans(), settings.spanDelay).unref(),
      setInterval(() => void this.#sendMetrics(), settings.metricInterval).unref(),
    ]
  }

  /** Metrics of a tenant are read from `state` when they are sent. */
  add(tenant: string, state: () => Promise<State>) {
    this.#sources.push({ tenant, state })
  }

  /** The trace of a request: that of its caller, or a new one. */
  begin(traceparent: string | undefined): Trace {
    const parent = parseTraceparent(traceparent)
    const { ratio, parentBased } = this.#settings
    const traceId = parent?.traceId ?? newTraceId()
    const sampled = parent && parentBased ? parent.sampled : Number.parseInt(traceId.slice(-13), 16) < ratio * 2 ** 52
    return { traceId, spanId: newSpanId(), sampled, ...(parent && { parentId: parent.parentId }) }
  }

  /** A request over HTTP has been answered. */
  answered({ traceId, spanId, parentId, sampled }: Trace, { method, route, path, status, ms }: Answered) {
    if (!sampled) return
    const end = Date.now()
    this.#push({
      traceId,
      spanId,
      ...(parentId !== undefined && { parentId }),
      name: `${method} ${route}`,
      kind: 'server',
      start: end - ms,
      end,
      attributes: {
        'http.request.method': method,
        'http.route': route,
        'url.path': path,
        'http.response.status_code': status,
        ...(status >= 500 && { 'error.type': String(status) }),
      },
      ...(status >= 500 && { error: `answered ${status}` }),
    })
  }

  /** An inference request has ended: its span and those of its stages, within that of HTTP where there is one. */
  observe(served: Served) {
    const around = currentTrace() ?? this.begin(undefined)
    if (!around.sampled) return
    const { ms, at, timings, written, code } = served
    const { traceId } = around
    const spanId = newSpanId()
    const start = at - ms
    const parentId = currentTrace()?.spanId
    this.#push({
      traceId,
      spanId,
      ...(parentId !== undefined && { parentId }),
      kind: 'internal',
      start,
      end: at,
      ...inferenceSpan(served),
      ...(code !== undefined && { error: code }),
    })
    const stage = (name: string, from: number, length: number) =>
      this.#push({
        traceId,
        spanId: newSpanId(),
        parentId: spanId,
        kind: 'internal',
        name,
        start: from,
        end: from + length,
        attributes: {},
      })
    if (timings) {
      const { queue, pre, run, post } = timings
      stage('queue', start, queue)
      stage('preprocess', start + queue, pre)
      stage('run', at - post - run, run)
      stage('postprocess', at - post, post)
    }
    if (written) {
      stage('first token', start, written.first)
      stage('decode', start + written.first, ms - written.first)
    }
  }

  /** Sends what is there. */
  async flush() {
    await Promise.all([this.#sendSpans(), this.#sendMetrics()])
  }

  async close() {
    for (const timer of this.#timers) clearInterval(timer)
    await this.flush()
  }

  #push(span: Span) {
    if (!this.#settings.traces) return
    if (this.#spans.length >= WAITING) this.#dropped++
    else this.#spans.push(span)
  }

  #sendSpans(): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      const { traces, resource } = this.#settings
      if (this.#dropped > 0) this.onUnsent(`${this.#dropped} spans came faster than they were sent`)
      this.#dropped = 0
      while (traces && this.#spans.length > 0) {
        const batch = this.#spans.splice(0, BATCH)
        try {
          await send(traces, encodeSpans(batch, resource, this.#version), this.#settings)
        } catch (error) {
          this.onUnsent(`${batch.length} spans: ${(error as Error).message}`)
          return
        }
      }
    })
    return this.#sending
  }

  async #sendMetrics() {
    const { metrics: url, resource } = this.#settings
    if (!url) return
    try {
      const states = await Promise.all(
        this.#sources.map(async ({ tenant, state }) => ({
          attributes: { 'athanor.tenant': tenant },
          state: await state(),
        })),
      )
      const all = [...genaiMetrics, ...ownNames].flatMap((metric) => states.map((source) => ({ metric, ...source })))
      const about = { resource, version: this.#version, start: this.#startedAt, now: Date.now() }
      await send(url, encodeMetrics(all, about), this.#settings)
    } catch (error) {
      this.onUnsent(`metrics: ${(error as Error).message}`)
    }
  }
}
