import type { FastifyReply, FastifyRequest } from 'fastify'

const HEARTBEAT = 15_000

/** Turns an answer into a stream of server-sent events, kept alive by comments. */
export function openEvents(request: FastifyRequest, reply: FastifyReply) {
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-request-id': request.id,
  })
  const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT)
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
