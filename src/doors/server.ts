import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify'
import type { Permission, Principal } from '../access/roles.ts'
import { type AthanorError, fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { inTrace, type Trace } from '../base/trace.ts'
import { isCallerError } from '../watch/log.ts'
import { audited } from './audited.ts'
import { readBodies } from './bodies.ts'
import { lazyCompilers } from './compilers.ts'
import { doorOf } from './door.ts'
import { doors } from './doors.ts'
import type { Gate } from './gate.ts'
import { describe, schemaOf } from './openapi.ts'
import { DEPTH_LIMIT, fromFastify, isShallow, withTypes } from './requests.ts'
import type { House, Route } from './route.ts'

/** All routes of the server. */
export const routes: readonly Route[] = doors.flatMap((door) => door.routes)

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whoever has it may pass; a route without one is not opened. */
    permission?: Permission
    door?: string
  }
  interface FastifyRequest {
    /** Who passed the gate; undefined for nobody at a public route. */
    who: Principal | undefined
    /** Its place in a trace, where traces are sent. */
    trace: Trace | undefined
    /** Headers that tell what is left of the caller's limits. */
    limitHeaders: () => Record<string, string>
  }
}

/** The HTTP server with every route of the table; nothing listens yet. */
export function createServer(house: House, gate: Gate): FastifyInstance {
  const { config, access, telemetry } = house
  const app = Fastify({
    bodyLimit: config.bodyLimit,
    genReqId: () => newId('req'),
    logger: false,
    forceCloseConnections: 'idle',
    requestTimeout: 300_000,
    connectionTimeout: 0,
    keepAliveTimeout: 30_000,
    http: { maxHeaderSize: 16_384, headersTimeout: 10_000 },
    routerOptions: { maxParamLength: 300 },
    schemaController: { compilersFactory: lazyCompilers },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false, allowUnionTypes: true } },
  })
  app.decorateRequest('who', undefined)
  app.decorateRequest('trace', undefined)
  app.decorateRequest('limitHeaders', () => ({}))
  app.addHook('onRoute', ({ method, url, config }) => {
    if (!config?.permission) throw new TypeError(`${method} ${url} declares no permission`)
  })
  // hooks call back: a promise for each would be a good part of a request's time
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    // what people wrote or stored is never taken for a page
    if (request.method === 'GET') reply.header('x-content-type-options', 'nosniff')
    const foreign = access.keysRequired ? undefined : checkHost(request.headers.host, config.host)
    if (foreign) return done(foreign)
    const { permission = 'read', door = 'native' } = request.routeOptions.config
    request.trace = telemetry?.begin(request.headers.traceparent as string | undefined)
    const enter = (who: Principal | undefined) => {
      request.who = who
      // read as it comes; a form of another site cannot PUT
      if (request.method === 'PUT' && doorOf(request.url, doors).anyType?.test(request.url))
        request.raw.headers['content-type'] = 'application/octet-stream'
      done()
    }
    try {
      const who = gate.check(request.headers, permission, door)
      if (who instanceof Promise) who.then(enter, done)
      else enter(who)
    } catch (error) {
      done(error as AthanorError)
    }
  })
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unknown'
    const { statusCode: status, elapsedTime: ms } = reply
    house.metrics.answeredHttp(request.method, route, status, ms)
    if (telemetry && request.trace)
      telemetry.answered(request.trace, {
        method: request.method,
        route,
        path: request.url.split('?')[0],
        status,
        ms,
      })
    done()
  })
  if (telemetry) {
    // from here on: reading a body leaves the context that a request began in
    app.addHook('preHandler', (request, _reply, done) => {
      if (request.trace) inTrace(request.trace, done)
      else done()
    })
  }
  readBodies(app, config.bodyLimit)
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = fromFastify(thrown, config.bodyLimit)
    if (!isCallerError(error)) house.log.error('http.failed', error, { requestId: request.id })
    if (error.status === 401) reply.header('www-authenticate', 'Bearer')
    if (error.status === 429 || error.status === 503)
      reply.headers(request.limitHeaders()).header('retry-after', String(error.details.retryAfter ?? 1))
    const { status = error.status, headers = {}, body } = doorOf(request.url, doors).failure(error, request.id)
    reply.code(status).headers(headers).send(body)
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0].slice(0, 200)
    throw fail(
      'NOT_FOUND',
      { method: request.method, path },
      { suggestion: suggest(path, new Set(routes.map((one) => one.path))) },
    )
  })

  for (const door of doors) for (const one of door.routes) addRoute(app, { house, gate, door: door.name }, one)
  let description: Promise<object> | undefined
  app.get('/openapi.json', { config: { permission: 'public' } }, () => (description ??= describe(routes)))
  return app
}

function addRoute(app: FastifyInstance, way: { house: House; gate: Gate; door: string }, one: Route) {
  const { gate, door } = way
  const { config } = way.house
  const changing = one.method !== 'GET' && changes.has(one.permission)
  const { body, querystring } = one.schemas
  app.route({
    method: one.method,
    url: one.path,
    config: { permission: one.permission, door },
    bodyLimit: one.raw ? config.uploadLimit : (one.bodyLimit ?? config.bodyLimit),
    schema: schemaOf(one),
    preValidation: (request, _reply, done) => {
      if (one.raw && !isStream(request.body))
        return done(fail('BAD_REQUEST', { message: 'expected the bytes of a file, as application/octet-stream' }))
      // no body at all is an empty one, where nothing is required
      if (body && (request.body ?? null) === null && !(body as { required?: string[] }).required?.length)
        request.body = {}
      if (querystring) request.query = withTypes(request.query as Record<string, unknown>, querystring)
      const deep = body && !isShallow(request.body)
      done(deep ? fail('BAD_REQUEST', { message: `the body is nested deeper than ${DEPTH_LIMIT}` }) : undefined)
    },
    handler: async (request, reply) => {
      reply.code(one.status)
      const { params, query, body, who } = request
      if (who && one.permission === 'use') request.limitHeaders = () => gate.headers(who)
      const house = who ? await gate.house(who) : way.house
      const work = () => one.handle(house, { params, query, body, request, reply })
      const result = changing ? await audited(house, entryOf(one, request), work) : await work()
      if (!reply.sent) reply.headers(request.limitHeaders())
      return one.status === 204 ? reply.send() : result
    },
  })
}

const isStream = (body: unknown) => typeof body === 'object' && body !== null && Symbol.asyncIterator in body

/** Routes whose calls are written to the audit log. */
const changes = new Set<Permission>(['write', 'admin', 'operate'])

function entryOf({ method, path, raw }: Route, request: FastifyRequest) {
  const { params, query, body, id } = request as { params: object; query: object; body: object; id: string }
  return {
    action: `${method} ${path}`,
    target: Object.values(params).join(' '),
    detail: { ...query, ...(!raw && body) },
    requestId: id,
  }
}

const hostName = (host: string) => host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')

/** A page of another site that has its name point here must not get answers (DNS rebinding). */
function checkHost(host: string | undefined, bound: string): AthanorError | undefined {
  const name = hostName(host ?? '')
  if (name === 'localhost' || name === '127.0.0.1' || name === '::1' || name === bound) return undefined
  return fail('BAD_REQUEST', { message: `the Host header names "${name.slice(0, 80)}", which is not this server` })
}
