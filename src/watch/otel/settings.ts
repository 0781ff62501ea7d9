import { fail } from '../../base/errors.ts'

/** Where telemetry goes and how; from the environment variables that OpenTelemetry's specification names. */
export interface Telemetry {
  traces: URL | undefined
  metrics: URL | undefined
  headers: Readonly<Record<string, string>>
  /** Milliseconds that sending may take, between batches of spans, and between metrics. */
  timeout: number
  spanDelay: number
  metricInterval: number
  gzip: boolean
  resource: Readonly<Record<string, string>>
  /** Share of traces that begin here and are sent; a caller's own choice goes before where `parentBased`. */
  ratio: number
  parentBased: boolean
}

const NAMES = ['ENDPOINT', 'TRACES_ENDPOINT', 'METRICS_ENDPOINT'].map((name) => `OTEL_EXPORTER_OTLP_${name}`)

/** Whether telemetry is to be sent at all; what sends it is loaded only then. */
export const wantsTelemetry = (env: Readonly<Record<string, string>>) =>
  env.OTEL_SDK_DISABLED !== 'true' && NAMES.some((name) => env[name])

/** Reads the variables (https://opentelemetry.io/docs/specs/otel/protocol/exporter/); throws OPTION_INVALID. */
export function readTelemetry(env: Readonly<Record<string, string>>, version: string): Telemetry {
  const invalid = (option: string, reason: string) => fail('OPTION_INVALID', { option, reason })
  const protocol = env.OTEL_EXPORTER_OTLP_PROTOCOL
  if (protocol !== undefined && protocol !== 'http/json')
    throw invalid('OTEL_EXPORTER_OTLP_PROTOCOL', `"${protocol}" is not spoken; leave it out or set http/json`)
  const address = (signal: 'traces' | 'metrics'): URL | undefined => {
    const name = `OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_ENDPOINT`
    if (env[`OTEL_${signal.toUpperCase()}_EXPORTER`] === 'none') return undefined
    const text =
      env[name] ??
      (env.OTEL_EXPORTER_OTLP_ENDPOINT && `${env.OTEL_EXPORTER_OTLP_ENDPOINT.replace(/\/$/, '')}/v1/${signal}`)
    if (!text) return undefined
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (!url || !['http:', 'https:'].includes(url.protocol)) throw invalid(name, 'expected an http or https address')
    return url
  }
  const number = (name: string, otherwise: number) => {
    const value = Number(env[name] ?? otherwise)
    if (!(value >= 0)) throw invalid(name, 'expected a number')
    return value
  }
  const sampler = env.OTEL_TRACES_SAMPLER ?? 'parentbased_always_on'
  const [, parent, kind] = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(sampler) ?? []
  if (kind === undefined) throw invalid('OTEL_TRACES_SAMPLER', `"${sampler}" is not known`)
  return {
    traces: address('traces'),
    metrics: address('metrics'),
    headers: pairs(env.OTEL_EXPORTER_OTLP_HEADERS),
    timeout: number('OTEL_EXPORTER_OTLP_TIMEOUT', 10_000),
    spanDelay: number('OTEL_BSP_SCHEDULE_DELAY', 5_000),
    metricInterval: number('OTEL_METRIC_EXPORT_INTERVAL', 60_000),
    gzip: env.OTEL_EXPORTER_OTLP_COMPRESSION === 'gzip',
    resource: {
      'service.version': version,
      ...pairs(env.OTEL_RESOURCE_ATTRIBUTES),
      'service.name': env.OTEL_SERVICE_NAME ?? pairs(env.OTEL_RESOURCE_ATTRIBUTES)['service.name'] ?? 'athanor',
    },
    ratio: { always_on: 1, always_off: 0 }[kind] ?? Math.min(1, number('OTEL_TRACES_SAMPLER_ARG', 1)),
    parentBased: parent !== undefined,
  }
}

/** `key=value,key=value`, percent-encoded. */
const pairs = (text = ''): Record<string, string> =>
  Object.fromEntries(
    text
      .split(',')
      .filter((pair) => pair.includes('='))
      .map((pair) => {
        const at = pair.indexOf('=')
        return [pair.slice(0, at).trim(), decode(pair.slice(at + 1).trim())]
      }),
  )

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
