import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { fail } from '../base/errors.ts'
import { collect } from './body.ts'
import { doorOf } from './door.ts'
import { doors } from './doors.ts'
import { decoded } from './encoding.ts'
import { parseJson, textOf } from './requests.ts'

/**
 * How bodies of each content type are read: up to `limit` bytes where they are not streamed to their handler, whether or
 * not they come compressed.
 */
export function readBodies(app: FastifyInstance, limit: number) {
  const parseBody = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    const parse = (plain: Buffer) => {
      try {
        parseBody(request, textOf(plain), done)
      } catch (error) {
        done(error as Error)
      }
    }
    if (request.headers['content-encoding'] === undefined) parse(body)
    else whole(request, body).then(parse, done)
  })
  const plain = (request: FastifyRequest, payload: Readable) => {
    const { 'content-encoding': encoding } = request.headers
    return encoding === undefined ? payload : decoded(payload, encoding, request.routeOptions.bodyLimit ?? limit)
  }
  const whole = async (request: FastifyRequest, body: Buffer) =>
    request.headers['content-encoding'] === undefined
      ? body
      : collect(plain(request, Readable.from([body])), request.routeOptions.bodyLimit ?? limit)
  app.removeContentTypeParser('text/plain') // JSON only: a form of another site cannot send that
  const octets = async (request: FastifyRequest, payload: Readable) => {
    const { readOctets } = doorOf(request.url, doors)
    const content = plain(request, payload)
    return readOctets ? readOctets(content, request.headers, limit) : content
  }
  app.addContentTypeParser('application/octet-stream', octets)
  // Triton's client names no type at all; a page of another site can do that too
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
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
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      checkOrigin(request.headers)
      if (!doorOf(request.url, doors).looseJson)
        throw fail('BAD_REQUEST', { message: 'the content type must be application/json' })
      return parseJson(await whole(request, body))
    },
  )
  // what a form of another site can send as well: only from a page of this server, or from no page at all
  app.addContentTypeParser(
    /^(image\/|audio\/|multipart\/form-data)/,
    async (request: FastifyRequest, payload: Readable) => {
      checkOrigin(request.headers)
      const form = request.headers['content-type']?.startsWith('multipart/')
      return form ? plain(request, payload) : octets(request, payload) // a form is read by its handler
    },
  )
}

/** A form of another site can send multipart bodies without asking; browsers say where it comes from. */
function checkOrigin({ origin, host, 'sec-fetch-site': site }: FastifyRequest['headers']) {
  const foreign = origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
  if (!foreign && site !== 'cross-site') return
  throw fail('BAD_REQUEST', { message: 'a form of another site cannot be sent here' })
}
