import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Access } from '../access/access.ts'
import type { Permission, Principal } from '../access/roles.ts'
import type { Config } from '../base/config.ts'
import { fail } from '../base/errors.ts'
import type { Static, TSchema } from '../base/schema.ts'
import type { Outside } from '../engine/any.ts'
import type { Registry } from '../registry/registry.ts'
import type { Webhooks } from '../registry/webhooks.ts'
import type { CallOptions, Deployments } from '../serve/deployments.ts'
import type { Rollouts } from '../serve/rollouts.ts'
import type { Artifacts } from '../store/artifacts.ts'
import type { Datasets } from '../store/datasets.ts'
import type { LogEntries } from '../store/log.ts'
import type { Secrets } from '../store/secrets.ts'
import type { Store } from '../store/store.ts'
import type { Tracking } from '../store/tracking.ts'
import type { Transfers } from '../store/transfers.ts'
import type { Runs } from '../train/runs.ts'
import type { Alerts } from '../watch/alerts.ts'
import type { Canary } from '../watch/canary.ts'
import type { Drift } from '../watch/drift.ts'
import type { ErrorWatch } from '../watch/errors.ts'
import type { Feedback } from '../watch/feedback.ts'
import type { History } from '../watch/history/history.ts'
import type { Log } from '../watch/log.ts'
import type { Metrics, Samples } from '../watch/metrics/metrics.ts'
import type { Served } from '../watch/metrics/served.ts'
import type { OpenTelemetry } from '../watch/otel/otel.ts'
import type { RequestLog } from '../watch/requests/request-log.ts'
import type { Rules } from '../watch/rules/rules.ts'

/** The rooms that doors open onto: those of one tenant, and as far as the caller may see into them. */
export interface House {
  readonly tenant: string
  /** Who calls; in the house as it was opened, the operator. */
  readonly who: Principal
  readonly access: Access
  readonly config: Config
  readonly store: Store
  readonly registry: Registry
  readonly webhooks: Webhooks
  readonly datasets: Datasets
  readonly tracking: Tracking
  readonly artifacts: Artifacts
  readonly transfers: Transfers
  readonly runs: Runs
  readonly deployments: Deployments
  readonly rollouts: Rollouts
  readonly outside: Outside & { readonly secrets: Secrets }
  readonly entries: LogEntries
  readonly metrics: Metrics
  /** Told of every inference request when it ends, answered or not. */
  readonly observe: (served: Served) => void
  readonly drift: Drift
  readonly alerts: Alerts
  readonly rules: Rules
  readonly feedback: Feedback
  readonly log: Log
  /** Whether loaded models of all tenants answer. */
  readonly health: () => ReturnType<Canary['check']>
  /** Sends traces, where that is wanted. */
  readonly telemetry: OpenTelemetry | undefined
  readonly history: History
  readonly errorWatch: ErrorWatch
  readonly requestLog: RequestLog
  /** What the server, its engines and the machine use now. */
  readonly samples: () => Promise<Samples>
  readonly startedAt: number
  readonly url: () => string
}

interface Schemas {
  params?: TSchema
  querystring?: TSchema
  body?: TSchema
  response?: TSchema
}
type Part<S extends Schemas, K extends keyof Schemas> = S[K] extends TSchema ? Static<S[K]> : undefined

/** One route: what it is for, who may use it, its schemas, and its handler. OpenAPI and validation derive from it. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly summary: string
  readonly permission: Permission
  readonly tag: string
  readonly status: number
  /** The body is streamed to the handler: raw bytes, or of the content types that are named. */
  readonly raw: boolean | readonly string[]
  readonly bodyLimit?: number
  readonly schemas: Schemas
  readonly handle: (
    house: House,
    call: { params: unknown; query: unknown; body: unknown; request: FastifyRequest; reply: FastifyReply },
  ) => unknown
}

/** Defines a route; the handler's types are those of the schemas. */
export function route<S extends Schemas>(
  head: `${Route['method']} ${string}`,
  about: {
    summary: string
    permission: Permission
    tag: string
    status?: number
    raw?: Route['raw']
    bodyLimit?: number
  },
  schemas: S,
  handle: (
    house: House,
    call: {
      params: Part<S, 'params'>
      query: Part<S, 'querystring'>
      body: Part<S, 'body'>
      request: FastifyRequest
      reply: FastifyReply
    },
  ) => unknown,
): Route {
  const [method, path] = head.split(' ') as [Route['method'], string]
  return { method, path, status: 200, raw: false, ...about, schemas, handle: handle as Route['handle'] }
}

/** An AbortSignal that fires when the client goes away before it is answered. */
export function abortWith(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort()
  })
  return gone.signal
}

/** Milliseconds that a request may take, and what its caller's requests have in common, in headers that every door reads. */
const callHeaders = { deadline: 'athanor-deadline', key: 'athanor-key' } as const

/** How a request is to be answered, by its headers; throws BAD_REQUEST. */
export function callOf(
  request: Pick<FastifyRequest, 'headers'>,
  reply: FastifyReply,
): CallOptions & { signal: AbortSignal } {
  return { signal: abortWith(reply), ...readCallHeaders(request.headers) }
}

/** As `callOf`, without the signal. */
export function readCallHeaders(headers: IncomingHttpHeaders): Pick<CallOptions, 'deadline' | 'key'> {
  const { [callHeaders.deadline]: time, [callHeaders.key]: key } = headers
  if (time === undefined && key === undefined) return {}
  const deadline = Number(time)
  if (time !== undefined && !(Number.isInteger(deadline) && deadline >= 1 && deadline <= 3_600_000))
    throw fail('BAD_REQUEST', { message: `${callHeaders.deadline}: expected whole milliseconds from 1 to 3600000` })
  return { ...(time !== undefined && { deadline }), ...(key !== undefined && { key: String(key).slice(0, 256) }) }
}
