import { Type } from 'typebox'
import { fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
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
import { sendChunks } from './stream.ts'

interface Part {
  type: string
  text?: string
}
export interface Message {
  role: string
  content?: string | Part[] | null
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
    },
  },
})

const Body = Type.Object({
  ...sampling,
  messages: Messages,
  max_completion_tokens: integer({ minimum: 1, maximum: 1_000_000 }),
  logprobs: boolean(),
  top_logprobs: integer({ minimum: 0, maximum: 20 }),
  tools: Type.Optional(Type.Unsafe<unknown[] | null>({ type: ['array', 'null'] })),
  functions: Type.Optional(Type.Unsafe<unknown[] | null>({ type: ['array', 'null'] })),
  tool_choice: Type.Optional(Type.Unknown()),
  response_format: Type.Optional(
    Type.Unsafe<{ type: string } | null>({
      type: ['object', 'null'],
      required: ['type'],
      properties: { type: { enum: ['text', 'json_object', 'json_schema'] } },
    }),
  ),
  modalities: Type.Optional(Type.Unsafe<string[] | null>({ type: ['array', 'null'], items: { type: 'string' } })),
})

/** A conversation as templates know it: texts, with `developer` for what it is, a system message. */
export function conversation(messages: readonly Message[]): ChatMessage[] {
  return messages.map(({ role, content }, i) => {
    const parts = typeof content === 'string' ? [] : (content ?? [])
    const other = parts.find(({ type }) => type !== 'text' && type !== 'input_text' && type !== 'output_text')
    if (other) throw refuse(`messages.${i}.content`, `content of type "${other.type.slice(0, 40)}"`)
    return {
      role: role === 'developer' ? 'system' : role,
      content: typeof content === 'string' ? content : parts.map(({ text }) => text ?? '').join(''),
    }
  })
}

export const chatRoutes = [
  route(
    'POST /v1/chat/completions',
    { summary: 'Answer a conversation, at once or as a stream', permission: 'use', tag },
    { body: Body },
    async (house, call) => {
      const { body, request, reply } = call
      if (body.tools?.length && body.tool_choice !== 'none') throw refuse('tools', 'calling tools')
      if (body.functions?.length) throw refuse('functions', 'calling functions')
      if (body.response_format && body.response_format.type !== 'text')
        throw refuse('response_format', `"${body.response_format.type}"`)
      if (body.modalities?.some((one) => one !== 'text')) throw refuse('modalities', 'output other than text')
      if (typeof body.top_logprobs === 'number' && !body.logprobs)
        throw fail('BAD_REQUEST', { message: 'top_logprobs: logprobs must be true with it', param: 'top_logprobs' })
      const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
      const settings = settingsOf(body, body.max_completion_tokens ?? body.max_tokens, logprobs)
      const input = { ...settings, messages: conversation(body.messages) }
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
        const withUsage = body.stream_options?.include_usage === true
        const chunk = (choices: unknown[]) => ({
          ...head,
          object: 'chat.completion.chunk',
          choices,
          ...(withUsage && { usage: null }),
        })
        const choice = (index: number, delta: object, rest: { token?: TokenEvent; end?: EndEvent } = {}) => ({
          index,
          delta,
          logprobs: logprobs !== undefined && rest.token ? { content: [logprobOf(rest.token)], refusal: null } : null,
          finish_reason: rest.end ? finishOf(rest.end) : null,
        })
        async function* chunks() {
          for (let index = 0; index < n; index++) yield chunk([choice(index, { role: 'assistant', content: '' })])
          for await (const { index, item } of events) {
            if (item.type === 'token') {
              if (item.text !== '' || logprobs !== undefined)
                yield chunk([choice(index, { content: item.text }, { token: item })])
              continue
            }
            if (item.text !== '') yield chunk([choice(index, { content: item.text })])
            usage.add(index, item)
            yield chunk([choice(index, {}, { end: item })])
          }
          if (withUsage) yield { ...chunk([]), usage: usage.value }
        }
        return sendChunks(request, reply, chunks())
      }

      const choices = Array.from({ length: n }, () => ({ text: '', tokens: [] as TokenEvent[], finish: 'stop' }))
      for await (const { index, item } of events) {
        const choice = choices[index]
        choice.text += item.text
        if (item.type === 'token') {
          if (logprobs !== undefined) choice.tokens.push(item)
        } else {
          choice.finish = finishOf(item)
          usage.add(index, item)
        }
      }
      return {
        ...head,
        object: 'chat.completion',
        choices: choices.map(({ text, tokens, finish }, index) => ({
          index,
          message: { role: 'assistant', content: text, refusal: null, annotations: [] },
          logprobs: logprobs === undefined ? null : { content: tokens.map(logprobOf), refusal: null },
          finish_reason: finish,
        })),
        usage: usage.value,
      }
    },
  ),
]
