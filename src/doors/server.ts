import type { IncomingMessage } from 'node:http'
import swagger from '@fastify/swagger'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify'
import { type AthanorError, fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { version } from '../base/version.ts'
import { isCallerError } from '../watch/log.ts'
import { collect } from './body.ts'
import { lazyCompilers } from './compilers.ts'
import { doorOf } from './door.ts'
import { doors } from './doors.ts'
import { DEPTH_LIMIT, fromFastify, isShallow, parseJson, withTypes } from './requests.ts'
import type { House, Route } from './route.ts'

/** All routes of the server. */
export const routes: readonly Route[] = doors.flatMap((door) => door.routes)

/** The HTTP server with every route of the table; nothing listens yet. */
export async function createServer(house: House): Promise<FastifyInstance> {
  const { config } = house
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
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Athanor', version, description: 'Train, register, serve and watch models.' },
    },
    hideUntagged: true,
  })

  // hooks call back: a promise for each would be a good part of a request's time
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done(checkHost(request.headers.host, config.host))
  })
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unknown'
    house.metrics.answeredHttp(request.method, route, reply.statusCode, reply.elapsedTime)
    done()
  })
  app.removeContentTypeParser('text/plain') // JSON only: a form of another site cannot send that
  const octets = async (request: FastifyRequest, payload: IncomingMessage) => {
    const { readOctets } = doorOf(request.url, doors)
    return readOctets ? readOctets(await collect(payload, config.bodyLimit), request.headers) : payload
  }
  app.addContentTypeParser('application/octet-stream', octets)
  // Triton's client names no type at all; a page of another site can do that too
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: IncomingMessage) => {
    const typed = request.headers['content-type'] !== undefined
    if (typed || !doorOf(request.url, doors).readOctets)
      throw fail('BAD_REQUEST', {
        message: 'the content type must be application/json, or application/octet-stream for files',
      })
    checkOrigin(request.headers)
    return octets(request, payload)
  })
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    async (request: FastifyRequest, body: string) => {
      checkOrigin(request.headers)
      if (!doorOf(request.url, doors).looseJson)
        throw fail('BAD_REQUEST', { message: 'the content type must be application/json' })
      return parseJson(body)
    },
  )
  // what a form of another site can send as well: only from a page of this server, or from no page at all
  app.addContentTypeParser(
    /^(image\/|multipart\/form-data)/,
    async (request: FastifyRequest, payload: IncomingMessage) => {
      checkOrigin(request.headers)
      return payload // read by its handler
    },
  )
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = fromFastify(thrown, config.bodyLimit)
    if (!isCallerError(error)) house.log.error('http.failed', error, { requestId: request.id })
    if (error.status === 429 || error.status === 503) reply.header('retry-after', String(error.details.retryAfter ?? 1))
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

  for (const one of routes) addRoute(app, house, one)
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  return app
}

function addRoute(app: FastifyInstance, house: House, one: Route) {
  const { config } = house
  if (!one.permission) throw new TypeError(`${one.method} ${one.path} declares no permission`)
  const { body, params, querystring, response } = one.schemas
  app.route({
    method: one.method,
    url: one.path,
    bodyLimit: one.raw ? config.uploadLimit : (one.bodyLimit ?? config.bodyLimit),
    schema: {
      summary: one.summary,
      tags: [one.tag],
      ...(body && { body }),
      ...(params && { params }),
      ...(querystring && { querystring }),
      ...(response && { response: { [one.status]: response } }),
      ...(one.raw && { consumes: one.raw === true ? ['application/octet-stream'] : [...one.raw] }),
    },
    preValidation: (request, _reply, done) => {
      // no body at all is an empty one, where nothing is required
      if (body && (request.body ?? null) === null && !(body as { required?: string[] }).required?.length)
        request.body = {}
      if (querystring) request.query = withTypes(request.query as Record<string, unknown>, querystring)
      const deep = body && !isShallow(request.body)
      done(deep ? fail('BAD_REQUEST', { message: `the body is nested deeper than ${DEPTH_LIMIT}` }) : undefined)
    },
    handler: async (request, reply) => {
      reply.code(one.status)
      const { params, query, body } = request
      const result = await one.handle(house, { params, query, body, request, reply })
      return one.status === 204 ? reply.send() : result
    },
  })
}

const hostName = (host: string) => host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')

/** A page of another site that has its name point here must not get answers (DNS rebinding). */
function checkHost(host: string | undefined, bound: string): AthanorError | undefined {
  const name = hostName(host ?? '')
  if (name === 'localhost' || name === '127.0.0.1' || name === '::1' || name === bound) return undefined
  return fail('BAD_REQUEST', { message: `the Host header names "${name.slice(0, 80)}", which is not this server` })
}

/** A form of another site can send multipart bodies without asking; browsers say where it comes from. */
function checkOrigin({ origin, host, 'sec-fetch-site': site }: FastifyRequest['headers']) {
  const foreign = origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
  if (!foreign && site !== 'cross-site') return
  throw fail('BAD_REQUEST', { message: 'a form of another site cannot be sent here' })
}
