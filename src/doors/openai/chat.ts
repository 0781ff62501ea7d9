import { fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { Type } from '../../base/schema.ts'
import type { ChatMessage } from '../../engine/messages.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import {
  beginAll,
  type EndEvent,
  finishOf,
  logprobOf,
  now,
  refuse,
  sampling,
  settingsOf,
  type TokenEvent,
  UsageSum,
} from './generation.ts'
import { tag } from './models.ts'
import { boolean, integer } from './schema.ts'
import { gather, sendChunks } from './stream.ts'
import { type CallPart, callDelta, callsIn, shapeOf, shaping } from './tools.ts'

interface Part {
  type: string
  text?: string
}
export interface Message {
  role: string
  content?: string | Part[] | null
  tool_calls?: CallPart[] | null
  tool_call_id?: string
}

const Messages = Type.Unsafe<Message[]>({
  type: 'array',
  minItems: 1,
  maxItems: 1000,
  items: {
    type: 'object',
    required: ['role'],
    properties: {
      role: { enum: ['developer', 'system', 'user', 'assistant', 'tool', 'function'] },
      content: {
        type: ['string', 'array', 'null'],
        items: {
          type: 'object',
          required: ['type'],
          properties: { type: { type: 'string' }, text: { type: 'string' } },
        },
      },
      tool_calls: {
        type: ['array', 'null'],
        maxItems: 128,
        items: {
          type: 'object',
          required: ['id', 'function'],
          properties: {
            id: { type: 'string' },
            function: {
              type: 'object',
              required: ['name', 'arguments'],
              properties: { name: { type: 'string' }, arguments: { type: 'string' } },
            },
          },
        },
      },
      tool_call_id: { type: 'string' },
    },
  },
})

const Body = Type.Object({
  ...sampling,
  messages: Messages,
  max_completion_tokens: integer({ minimum: 1, maximum: 1_000_000 }),
  logprobs: boolean(),
  top_logprobs: integer({ minimum: 0, maximum: 20 }),
  ...shaping,
  functions: Type.Optional(Type.Unsafe<unknown[] | null>({ type: ['array', 'null'] })),
  modalities: Type.Optional(Type.Unsafe<string[] | null>({ type: ['array', 'null'], items: { type: 'string' } })),
})

/** A conversation as templates know it: texts, with `developer` for what it is, a system message. */
export function conversation(messages: readonly Message[]): ChatMessage[] {
  return messages.map((message, i) => {
    const { role, content } = message
    const parts = typeof content === 'string' ? [] : (content ?? [])
    const other = parts.find(({ type }) => type !== 'text' && type !== 'input_text' && type !== 'output_text')
    if (other) throw refuse(`messages.${i}.content`, `content of type "${other.type.slice(0, 40)}"`)
    return {
      role: role === 'developer' ? 'system' : role,
      content: typeof content === 'string' ? content : parts.map(({ text }) => text ?? '').join(''),
      ...callsIn(message),
    }
  })
}

export const chatRoutes = [
  route(
    'POST /v1/chat/completions',
    { summary: 'Answer a conversation, at once or as a stream', permission: 'use', tag },
    { body: Body },
    async (house, call) => {
      const { body } = call
      if (body.functions?.length) throw refuse('functions', 'calling functions')
      if (body.modalities?.some((one) => one !== 'text')) throw refuse('modalities', 'output other than text')
      if (typeof body.top_logprobs === 'number' && !body.logprobs)
        throw fail('BAD_REQUEST', { message: 'top_logprobs: logprobs must be true with it', param: 'top_logprobs' })
      const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
      const settings = settingsOf(body, body.max_completion_tokens ?? body.max_tokens, logprobs)
      const input = {
        ...settings,
        ...shapeOf(body),
        messages: conversation(body.messages),
        whole: body.stream !== true,
      }
      const n = body.n ?? 1
      const { version, events } = await beginAll(callerOf('openai', house, call), body.model, [input], n)
      const usage = new UsageSum(n)
      const head = {
        id: newId('chatcmpl'),
        created: now(),
        model: body.model,
        system_fingerprint: `${version.name}@${version.version}`,
      }

      if (body.stream) {
        const choice = (index: number, delta: object, rest: { token?: TokenEvent; end?: EndEvent } = {}) => [
          {
            index,
            delta,
            logprobs: logprobs !== undefined && rest.token ? { content: [logprobOf(rest.token)], refusal: null } : null,
            finish_reason: rest.end ? finishOf(rest.end) : null,
          },
        ]
        async function* choices() {
          for (let index = 0; index < n; index++) yield choice(index, { role: 'assistant', content: '' })
          for await (const { index, item } of events) {
            if (item.type === 'token') {
              if (item.call) yield choice(index, callDelta(item.call))
              else if (item.text !== '' || logprobs !== undefined)
                yield choice(index, { content: item.text }, { token: item })
              continue
            }
            if (item.text !== '') yield choice(index, { content: item.text })
            usage.add(index, item)
            yield choice(index, {}, { end: item })
          }
        }
        const wanted = body.stream_options?.include_usage ? usage : undefined
        return sendChunks(call, { ...head, object: 'chat.completion.chunk' }, choices(), wanted)
      }

      const choices = await gather(events, n, usage, logprobs !== undefined)
      return {
        ...head,
        object: 'chat.completion',
        choices: choices.map(({ text, tokens, calls, finish }, index) => ({
          index,
          message: {
            role: 'assistant',
            content: text === '' && finish === 'tool_calls' ? null : text,
            refusal: null,
            annotations: [],
            ...calls.field,
          },
          logprobs: logprobs === undefined ? null : { content: tokens.map(logprobOf), refusal: null },
          finish_reason: finish,
        })),
        usage: usage.value,
      }
    },
  ),
]
