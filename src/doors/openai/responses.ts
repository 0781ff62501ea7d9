import type { FastifyReply, FastifyRequest } from 'fastify'
import { asAthanorError } from '../../base/errors.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { openEvents } from '../sse.ts'
import { conversation } from './chat.ts'
import { openaiFailure } from './failure.ts'
import { beginAll, settingsOf } from './generation.ts'
import { tag } from './models.ts'
import { responseEvents } from './response-events.ts'
import { checkStateless, messagesOf, ResponseBody, shapeIn } from './response-input.ts'

export const responseRoutes = [
  route(
    'POST /v1/responses',
    { summary: 'Answer a conversation (Responses API, nothing is kept)', permission: 'use', tag },
    { body: ResponseBody },
    async (house, call) => {
      const { body, request, reply } = call
      checkStateless(body)
      const wanted = body.include?.includes('message.output_text.logprobs') || typeof body.top_logprobs === 'number'
      const settings = settingsOf(body, body.max_output_tokens, wanted ? (body.top_logprobs ?? 0) : undefined)
      const messages = conversation(messagesOf(body))
      const input = { ...settings, ...shapeIn(body), messages, whole: body.stream !== true }
      const { events } = await beginAll(callerOf('openai', house, call), body.model, [input], 1)
      const told = responseEvents(body, events, wanted)
      if (body.stream) return streamed(request, reply, told)
      let last: unknown
      for await (const [, { response }] of told) last = response
      return last
    },
  ),
]

async function streamed(request: FastifyRequest, reply: FastifyReply, told: ReturnType<typeof responseEvents>) {
  const out = openEvents(request, reply)
  let sequence = 0
  const send = (type: string, data: object) =>
    out.write(`event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...data })}\n\n`)
  try {
    for await (const [type, data] of told) await send(type, data)
  } catch (thrown) {
    const { error } = openaiFailure(asAthanorError(thrown)).body as { error: { code: string; message: string } }
    await send('error', { code: error.code, message: error.message, param: null })
  } finally {
    out.end()
  }
}
