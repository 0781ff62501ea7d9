import { Buckets } from '../metrics/buckets.ts'
import type { Metric } from '../metrics/readers.ts'
import type { State } from '../metrics/state.ts'

type Value = string | number | boolean | readonly string[]
export type Attributes = Readonly<Record<string, Value | undefined>>

/** A finished piece of work; times in milliseconds of the wall clock. */
export interface Span {
  traceId: string
  spanId: string
  parentId?: string
  name: string
  kind: 'internal' | 'server'
  start: number
  end: number
  attributes: Attributes
  /** Why it failed. */
  error?: string
}

/** What is sent of a metric, from one tenant's figures. */
export interface MetricData {
  metric: Metric
  state: State
  attributes: Attributes
}

const scope = (version: string) => ({ name: 'athanor', version })

/** Spans in the JSON of OTLP 1 (opentelemetry-proto, ExportTraceServiceRequest): ids in hex, 64-bit numbers as text. */
export function encodeSpans(spans: readonly Span[], resource: Attributes, version: string) {
  const kinds = { internal: 1, server: 2 } as const
  return {
    resourceSpans: [
      {
        resource: { attributes: encodeAttributes(resource) },
        scopeSpans: [
          {
            scope: scope(version),
            spans: spans.map(({ traceId, spanId, parentId, name, kind, start, end, attributes, error }) => ({
              traceId,
              spanId,
              ...(parentId !== undefined && { parentSpanId: parentId }),
              name,
              kind: kinds[kind],
              startTimeUnixNano: nanoseconds(start),
              endTimeUnixNano: nanoseconds(end),
              attributes: encodeAttributes(attributes),
              status: error === undefined ? {} : { code: 2, message: error },
            })),
          },
        ],
      },
    ],
  }
}

/** Metrics as sums since `start` (ExportMetricsServiceRequest); both times in milliseconds. */
export function encodeMetrics(
  all: readonly MetricData[],
  { resource, version, start, now }: { resource: Attributes; version: string; start: number; now: number },
) {
  const times = { startTimeUnixNano: nanoseconds(start), timeUnixNano: nanoseconds(now) }
  const metrics = [...Map.groupBy(all, ({ metric }) => metric)].flatMap(([metric, parts]) => {
    const { name, help, kind, labels, unit } = metric
    const dataPoints = parts.flatMap(({ state, attributes }) =>
      [...metric.read(state)].map(([values, value]) => ({
        attributes: encodeAttributes({
          ...attributes,
          ...Object.fromEntries(labels.map((label, i) => [label, values[i]])),
        }),
        ...times,
        ...(value instanceof Buckets
          ? {
              count: String(value.count),
              sum: value.sum,
              bucketCounts: Array.from(value.counts, String),
              explicitBounds: value.bounds,
            }
          : { asDouble: value }),
      })),
    )
    if (dataPoints.length === 0) return []
    const cumulative = { dataPoints, aggregationTemporality: 2 }
    const data =
      kind === 'histogram'
        ? { histogram: cumulative }
        : kind === 'counter'
          ? { sum: { ...cumulative, isMonotonic: true } }
          : { gauge: { dataPoints } }
    return [{ name, description: help, ...(unit && { unit }), ...data }]
  })
  return {
    resourceMetrics: [
      { resource: { attributes: encodeAttributes(resource) }, scopeMetrics: [{ scope: scope(version), metrics }] },
    ],
  }
}

const nanoseconds = (ms: number) => String(BigInt(Math.round(ms * 1000)) * 1000n)

const encodeAttributes = (attributes: Attributes) =>
  Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [{ key, value: encodeValue(value) }],
  )

function encodeValue(value: Value): object {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number') return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  return { arrayValue: { values: value.map((text) => ({ stringValue: text })) } }
}
