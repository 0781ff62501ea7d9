import type { FastifyReply, FastifyRequest } from 'fastify'

const HEARTBEAT = 15_000

/** Turns an answer into a stream of server-sent events, kept alive by comments. */
export const openEvents = (request: FastifyRequest, reply: FastifyReply) =>
  open(request, reply, 'text/event-stream', ': still here\n\n')

/** Turns an answer into a stream of JSON lines. */
export const openLines = (request: FastifyRequest, reply: FastifyReply) => open(request, reply, 'application/x-ndjson')

function open(request: FastifyRequest, reply: FastifyReply, type: string, comment?: string) {
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-request-id': request.id,
    ...request.limitHeaders(),
  })
  const heartbeat = comment === undefined ? undefined : setInterval(() => raw.write(comment), HEARTBEAT)
  return {
    /** Writes whole events; a reader that is slower than they come holds the writer back, not the server's memory. */
    async write(events: string) {
      if (raw.destroyed || raw.write(events)) return
      await new Promise((resolve) => raw.once('drain', resolve).once('close', resolve))
    },
    end() {
      clearInterval(heartbeat)
      raw.end()
    },
  }
}
