import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'
import type { Message } from './chat.ts'
import { refuse } from './generation.ts'
import { anything, boolean, integer, number, text } from './schema.ts'
import { shapeOf } from './tools.ts'

/** A part of a conversation as the Responses API has it: a message, a call that the model made, or what came of one. */
interface Item {
  type?: string
  role?: string
  content?: Message['content']
  call_id?: string
  name?: string
  arguments?: string
  output?: Message['content']
}

interface FunctionTool {
  type: string
  name: string
  description?: string | null
  parameters?: Record<string, unknown> | null
}

const content = {
  type: ['string', 'array', 'null'],
  items: {
    type: 'object',
    required: ['type'],
    properties: { type: { type: 'string' }, text: { type: 'string' } },
  },
}

/** Responses are not kept: what a conversation was before is sent with each request. */
export const ResponseBody = Type.Object({
  model: Type.String(),
  input: Type.Unsafe<string | Item[]>({
    type: ['string', 'array'],
    minItems: 1,
    maxItems: 1000,
    items: {
      type: 'object',
      properties: {
        type: { type: ['string', 'null'] },
        role: { enum: ['developer', 'system', 'user', 'assistant'] },
        content,
        call_id: { type: 'string' },
        name: { type: 'string' },
        arguments: { type: 'string' },
        output: content,
      },
    },
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
  tools: Type.Optional(
    Type.Unsafe<FunctionTool[] | null>({
      type: ['array', 'null'],
      maxItems: 128,
      items: {
        type: 'object',
        required: ['type'],
        properties: {
          type: { type: 'string' },
          name: { type: 'string' },
          description: { type: ['string', 'null'] },
          parameters: { type: ['object', 'null'] },
        },
      },
    }),
  ),
  tool_choice: Type.Optional(
    Type.Unsafe<string | { type: string; name?: string } | null>({
      type: ['string', 'object', 'null'],
      required: ['type'],
      properties: { type: { type: 'string' }, name: { type: 'string' } },
    }),
  ),
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
export type ResponseRequest = Static<typeof ResponseBody>

/** What an item of each type says. */
const itemFields: Record<string, readonly (keyof Item)[]> = {
  message: ['role', 'content'],
  function_call: ['call_id', 'name', 'arguments'],
  function_call_output: ['call_id', 'output'],
}

/** The conversation in chat's words; throws BAD_REQUEST for items that have no place in it. */
export function messagesOf({ input, instructions }: ResponseRequest): Message[] {
  const messages: Message[] = instructions ? [{ role: 'system', content: instructions }] : []
  if (typeof input === 'string') return [...messages, { role: 'user', content: input }]
  for (const [i, item] of input.entries()) {
    const { type, role = '', content, call_id: id = '', name = '', arguments: given = '', output } = item
    const kind = type ?? 'message'
    if (kind === 'item_reference') throw refuse(`input.${i}`, 'keeping items (with "store": false clients send them)')
    const fields = Object.hasOwn(itemFields, kind) ? itemFields[kind] : undefined
    if (!fields) throw refuse(`input.${i}`, `an item of type "${kind.slice(0, 40)}"`)
    const missing = fields.find((field) => (item[field] ?? null) === null)
    if (missing !== undefined)
      throw fail('BAD_REQUEST', { message: `input.${i}: a ${kind} needs "${missing}"`, param: `input.${i}` })
    if (kind === 'message') messages.push({ role, content: content! })
    else if (kind === 'function_call_output') messages.push({ role: 'tool', content: output!, tool_call_id: id })
    else {
      // the calls of a turn are parts of one message
      const turn = messages.at(-1)
      const call = { id, function: { name, arguments: given } }
      if (turn?.role === 'assistant') turn.tool_calls = [...(turn.tool_calls ?? []), call]
      else messages.push({ role: 'assistant', content: '', tool_calls: [call] })
    }
  }
  return messages
}

/** What may be called and in which form the text is wanted; throws BAD_REQUEST. */
export function shapeIn({ tools, tool_choice: choice, text: wanted }: ResponseRequest) {
  const functions = (tools ?? []).map(({ type, name, description, parameters }, i) => {
    if (type !== 'function' || name === undefined) throw refuse(`tools.${i}`, `a tool of type "${type.slice(0, 40)}"`)
    return { type, function: { name, ...(description && { description }), ...(parameters && { parameters }) } }
  })
  const named = typeof choice === 'object' && choice !== null
  if (named && (choice.type !== 'function' || choice.name === undefined))
    throw refuse('tool_choice', `a choice of type "${choice.type.slice(0, 40)}"`)
  const { type = 'text', schema } = wanted?.format ?? {}
  return shapeOf({
    tools: functions,
    ...(choice !== undefined && { tool_choice: named ? { function: { name: choice.name! } } : choice }),
    response_format: { type, ...(schema && { json_schema: { schema } }) },
  })
}

/** Refuses what needs responses that are kept. Throws BAD_REQUEST. */
export function checkStateless({ previous_response_id, background, conversation: kept }: ResponseRequest) {
  if (previous_response_id) throw refuse('previous_response_id', 'keeping responses (send the conversation as input)')
  if (kept) throw refuse('conversation', 'keeping conversations (send the conversation as input)')
  if (background) throw refuse('background', 'answering later')
}
