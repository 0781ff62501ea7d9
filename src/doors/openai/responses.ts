import type { FastifyReply, FastifyRequest } from 'fastify'
import { asAthanorError } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { type Static, Type } from '../../base/schema.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { openEvents } from '../sse.ts'
import { conversation, type Message } from './chat.ts'
import { openaiFailure } from './failure.ts'
import { beginAll, type EndEvent, logprobOf, now, refuse, settingsOf, type TokenEvent } from './generation.ts'
import { tag } from './models.ts'
import { anything, boolean, integer, number, text } from './schema.ts'
import { shapeOf } from './tools.ts'

/** Responses are not kept: what a conversation was before is sent with each request. */
const Body = Type.Object({
  model: Type.String(),
  input: Type.Unsafe<string | (Message & { type?: string })[]>({
    type: ['string', 'array'],
    minItems: 1,
    maxItems: 1000,
    items: { type: 'object' },
  }),
  instructions: text(),
  max_output_tokens: integer({ minimum: 1, maximum: 1_000_000 }),
  temperature: number({ minimum: 0, maximum: 2 }),
  top_p: number({ minimum: 0, maximum: 1 }),
  top_logprobs: integer({ minimum: 0, maximum: 20 }),
  include: Type.Optional(Type.Unsafe<string[] | null>({ type: ['array', 'null'], items: { type: 'string' } })),
  stream: boolean(),
  store: boolean(),
  background: boolean(),
  previous_response_id: text(),
  conversation: Type.Optional(Type.Unknown()),
  metadata: anything(),
  tools: Type.Optional(Type.Unsafe<unknown[] | null>({ type: ['array', 'null'] })),
  text: Type.Optional(
    Type.Unsafe<{ format?: { type: string; schema?: Record<string, unknown> } } | null>({
      type: ['object', 'null'],
      properties: {
        format: {
          type: 'object',
          required: ['type'],
          properties: { type: { enum: ['text', 'json_object', 'json_schema'] }, schema: { type: 'object' } },
        },
      },
    }),
  ),
})
type Given = Static<typeof Body>

function messagesOf({ input, instructions }: Given): Message[] {
  const given = typeof input === 'string' ? [{ role: 'user', content: input }] : input
  given.forEach((item, i) => {
    if ('type' in item && item.type !== undefined && item.type !== 'message')
      throw refuse(`input.${i}`, `an item of type "${String(item.type).slice(0, 40)}"`)
    if (typeof item.role !== 'string' || item.content === undefined || item.content === null)
      throw refuse(`input.${i}`, 'an item without role and content')
  })
  return instructions ? [{ role: 'system', content: instructions }, ...given] : given
}

function check({ tools, previous_response_id, background, conversation: kept }: Given) {
  if (tools?.length) throw refuse('tools', 'calling tools')
  if (previous_response_id) throw refuse('previous_response_id', 'keeping responses (send the conversation as input)')
  if (kept) throw refuse('conversation', 'keeping conversations (send the conversation as input)')
  if (background) throw refuse('background', 'answering later')
}

/** The parts that events of one response refer to, and how it looks at any moment. */
function frame(body: Given) {
  const id = newId('resp')
  const itemId = newId('msg')
  const created = now()
  const item = (content: unknown[], status: string) => ({
    id: itemId,
    type: 'message',
    role: 'assistant',
    status,
    content,
  })
  const part = (written: string, tokens: readonly TokenEvent[]) => ({
    type: 'output_text',
    text: written,
    annotations: [],
    logprobs: tokens.map(logprobOf),
  })
  const response = (status: string, output: unknown[], end?: EndEvent) => ({
    id,
    object: 'response',
    created_at: created,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    model: body.model,
    output,
    parallel_tool_calls: false,
    previous_response_id: null,
    store: false,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format ?? { type: 'text' } },
    tool_choice: 'none',
    tools: [],
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
    usage: end
      ? {
          input_tokens: end.usage.promptTokens,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: end.usage.completionTokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: end.usage.promptTokens + end.usage.completionTokens,
        }
      : null,
  })
  return { itemId, item, part, response }
}

const statusOf = ({ finish }: EndEvent) => (finish === 'length' ? 'incomplete' : 'completed')

export const responseRoutes = [
  route(
    'POST /v1/responses',
    { summary: 'Answer a conversation (Responses API, nothing is kept)', permission: 'use', tag },
    { body: Body },
    async (house, call) => {
      const { body, request, reply } = call
      check(body)
      const wanted = body.include?.includes('message.output_text.logprobs') || typeof body.top_logprobs === 'number'
      const settings = settingsOf(body, body.max_output_tokens, wanted ? (body.top_logprobs ?? 0) : undefined)
      const { type = 'text', schema } = body.text?.format ?? {}
      const shape = shapeOf({ response_format: { type, ...(schema && { json_schema: { schema } }) } })
      const input = { ...settings, ...shape, messages: conversation(messagesOf(body)), whole: body.stream !== true }
      const { events } = await beginAll(callerOf('openai', house, call), body.model, [input], 1)
      const made = frame(body)
      if (body.stream) return streamed(request, reply, events, made, wanted)

      let written = ''
      const tokens: TokenEvent[] = []
      let end: EndEvent | undefined
      for await (const { item } of events) {
        written += item.text
        if (item.type === 'end') end = item
        else if (wanted) tokens.push(item)
      }
      const status = statusOf(end!)
      return made.response(status, [made.item([made.part(written, tokens)], status)], end)
    },
  ),
]

async function streamed(
  request: FastifyRequest,
  reply: FastifyReply,
  events: Awaited<ReturnType<typeof beginAll>>['events'],
  { itemId, item, part, response }: ReturnType<typeof frame>,
  logprobs: boolean,
) {
  const out = openEvents(request, reply)
  let sequence = 0
  const send = (type: string, data: object) =>
    out.write(`event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...data })}\n\n`)
  const place = { item_id: itemId, output_index: 0, content_index: 0 }
  try {
    await send('response.created', { response: response('in_progress', []) })
    await send('response.in_progress', { response: response('in_progress', []) })
    await send('response.output_item.added', { output_index: 0, item: item([], 'in_progress') })
    await send('response.content_part.added', { ...place, part: part('', []) })
    let written = ''
    const tokens: TokenEvent[] = []
    let end: EndEvent | undefined
    for await (const { item: event } of events) {
      written += event.text
      if (event.type === 'end') end = event
      else if (logprobs) tokens.push(event)
      const told = logprobs && event.type === 'token' ? [logprobOf(event)] : []
      if (event.text !== '' || told.length > 0)
        await send('response.output_text.delta', { ...place, delta: event.text, logprobs: told })
    }
    const status = statusOf(end!)
    const done = item([part(written, tokens)], status)
    await send('response.output_text.done', { ...place, text: written, logprobs: tokens.map(logprobOf) })
    await send('response.content_part.done', { ...place, part: part(written, tokens) })
    await send('response.output_item.done', { output_index: 0, item: done })
    await send(`response.${status}`, { response: response(status, [done], end) })
  } catch (thrown) {
    const { error } = openaiFailure(asAthanorError(thrown)).body as { error: { code: string; message: string } }
    await send('error', { code: error.code, message: error.message, param: null })
  } finally {
    out.end()
  }
}
