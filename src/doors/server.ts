import type { IncomingMessage } from 'node:http'
import swagger from '@fastify/swagger'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { version } from '../base/version.ts'
import { isCallerError } from '../watch/log.ts'
import { lazyCompilers } from './compilers.ts'
import { formatRoutes } from './formats.ts'
import { generateRoutes } from './generate.ts'
import { imageRoutes } from './images.ts'
import { collect, modelRoutes } from './models.ts'
import { oipError, oipRoutes } from './oip.ts'
import { parseBinaryBody } from './oip-binary.ts'
import { datasetRoutes, platformRoutes, runRoutes } from './platform.ts'
import { predictRoutes } from './predict.ts'
import type { House, Route } from './route.ts'
import { watchRoutes } from './watching.ts'

/** All routes of the server. */
export const routes: readonly Route[] = [
  ...platformRoutes,
  ...modelRoutes,
  ...formatRoutes,
  ...predictRoutes,
  ...imageRoutes,
  ...generateRoutes,
  ...datasetRoutes,
  ...runRoutes,
  ...watchRoutes,
  ...oipRoutes,
]

/** Deepest nesting of a JSON body. */
const DEPTH_LIMIT = 70

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
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Athanor', version, description: 'Train, register, serve and watch models.' },
    },
    hideUntagged: true,
  })

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    checkHost(request.headers.host, config.host)
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown'
    house.metrics.answeredHttp(request.method, route, reply.statusCode, reply.elapsedTime)
  })
  app.removeContentTypeParser('text/plain') // JSON only: a form of another site cannot send that
  app.addContentTypeParser('application/octet-stream', async (request: FastifyRequest, payload: IncomingMessage) => {
    if (!request.url.startsWith('/v2/')) return payload // files are streamed to their handler
    return parseBinaryBody(
      await collect(payload, config.bodyLimit),
      request.headers['inference-header-content-length'] as string | undefined,
    )
  })
  // what a form of another site can send as well: only from a page of this server, or from no page at all
  app.addContentTypeParser(
    /^(image\/|multipart\/form-data)/,
    async (request: FastifyRequest, payload: IncomingMessage) => {
      const { origin, host } = request.headers
      if (origin !== undefined && !origin.endsWith(`//${host}`))
        throw fail('BAD_REQUEST', { message: 'a form of another site is not taken' })
      return payload
    },
  )
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = fromFastify(thrown, config.bodyLimit)
    if (!isCallerError(error)) house.log.error('http.failed', error, { requestId: request.id })
    if (error.status === 429 || error.status === 503) reply.header('retry-after', '1')
    const isOip = request.url.startsWith('/v2')
    reply.code(error.status).send(isOip ? oipError(error) : { error: { ...error.toJSON(), requestId: request.id } })
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0].slice(0, 200)
    throw fail(
      'NOT_FOUND',
      { method: request.method, path },
      { suggestion: suggest(path, new Set(routes.map((one) => one.path))) },
    )
  })

  for (const one of routes) {
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
        ...(one.raw && {
          consumes: [
            'application/octet-stream',
            ...(one.path.endsWith('/images') ? ['image/*', 'multipart/form-data'] : []),
          ],
        }),
      },
      preValidation: async (request) => {
        if (body && depthOf(request.body) > DEPTH_LIMIT)
          throw fail('BAD_REQUEST', { message: `the body is nested deeper than ${DEPTH_LIMIT}` })
        if (querystring) request.query = withNumbers(request.query as Record<string, unknown>, querystring)
      },
      handler: async (request, reply) => {
        reply.code(one.status)
        const { params, query, body } = request
        const result = await one.handle(house, { params, query, body, request, reply })
        return one.status === 204 ? reply.send() : result
      },
    })
  }
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  return app
}

/** A page of another site that has its name point here must not get answers (DNS rebinding). */
function checkHost(host: string | undefined, bound: string) {
  const name = (host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  if (name === 'localhost' || name === '127.0.0.1' || name === '::1' || name === bound) return
  throw fail('BAD_REQUEST', { message: `the Host header names "${name.slice(0, 80)}", which is not this server` })
}

/** Errors of the framework in the words of the table. */
function fromFastify(thrown: FastifyError, limit: number): AthanorError {
  if (thrown instanceof AthanorError) return thrown
  const { code, validation, validationContext, message } = thrown
  if (validation) {
    const [first] = validation
    const place = `${validationContext ?? 'body'}${first.instancePath.replaceAll('/', '.')}`
    const extra = (first.params as { additionalProperty?: string }).additionalProperty
    return fail('BAD_REQUEST', {
      message:
        extra === undefined ? `${place} ${first.message}` : `${place} has an unknown field "${extra.slice(0, 80)}"`,
    })
  }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return fail('BODY_TOO_LARGE', { limit })
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return fail('BAD_REQUEST', {
      message: 'the content type must be application/json, or application/octet-stream for files',
    })
  if (thrown.statusCode !== undefined && thrown.statusCode < 500) return fail('BAD_REQUEST', { message })
  return asAthanorError(thrown)
}

function depthOf(value: unknown): number {
  let depth = 0
  let level: unknown[] = [value]
  while (level.length > 0 && depth <= DEPTH_LIMIT) {
    level = level.flatMap((item) =>
      typeof item === 'object' && item !== null
        ? Object.values(item).filter((v) => typeof v === 'object' && v !== null)
        : [],
    )
    depth++
  }
  return depth
}

type Properties = { properties?: Record<string, { type?: string }> }
/** Query values are text; where the schema asks for a number they are read as one. */
function withNumbers(query: Record<string, unknown>, schema: object): Record<string, unknown> {
  const { properties = {} } = schema as Properties
  return Object.fromEntries(
    Object.entries(query).map(([key, value]) => {
      const { type } = properties[key] ?? {}
      return [
        key,
        (type === 'integer' || type === 'number') && typeof value === 'string' && value.trim() !== ''
          ? Number(value)
          : value,
      ]
    }),
  )
}
