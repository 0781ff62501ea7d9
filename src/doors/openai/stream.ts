import type { FastifyReply, FastifyRequest } from 'fastify'
import { asAthanorError } from '../../base/errors.ts'
import { openEvents } from '../sse.ts'
import { openaiFailure } from './failure.ts'

/** Sends chunks as `data:` events and closes with `[DONE]`; an error on the way is the last event. */
export async function sendChunks(request: FastifyRequest, reply: FastifyReply, chunks: AsyncIterable<unknown>) {
  const out = openEvents(request, reply)
  try {
    for await (const chunk of chunks) await out.write(`data: ${JSON.stringify(chunk)}\n\n`)
    await out.write('data: [DONE]\n\n')
  } catch (error) {
    await out.write(`data: ${JSON.stringify(openaiFailure(asAthanorError(error)).body)}\n\n`)
  } finally {
    out.end()
  }
}
