import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import type { ChatMessage, ToolCall } from '../../engine/messages.ts'
import type { GenerationInput } from '../../serve/generation.ts'
import type { TokenEvent } from './generation.ts'

type Schema = Record<string, unknown>

interface FunctionTool {
  type: string
  function: { name: string; description?: string | null; parameters?: Schema | null }
}
export interface CallPart {
  id: string
  type?: string
  function: { name: string; arguments: string }
}

/** Fields of a request that say what may be called and in which form the text is wanted. */
export const shaping = {
  tools: Type.Optional(
    Type.Unsafe<FunctionTool[] | null>({
      type: ['array', 'null'],
      maxItems: 128,
      items: {
        type: 'object',
        required: ['type', 'function'],
        properties: {
          type: { const: 'function' },
          function: {
            type: 'object',
            required: ['name'],
            properties: {
              name: { type: 'string' },
              description: { type: ['string', 'null'] },
              parameters: { type: ['object', 'null'] },
            },
          },
        },
      },
    }),
  ),
  tool_choice: Type.Optional(
    Type.Unsafe<string | { function?: { name?: string } } | null>({
      type: ['string', 'object', 'null'],
      required: ['type', 'function'],
      properties: { type: { const: 'function' }, function: { type: 'object', required: ['name'] } },
    }),
  ),
  response_format: Type.Optional(
    Type.Unsafe<{ type: string; json_schema?: { schema?: Schema } } | null>({
      type: ['object', 'null'],
      required: ['type'],
      properties: {
        type: { enum: ['text', 'json_object', 'json_schema'] },
        json_schema: { type: 'object', required: ['name'], properties: { schema: { type: 'object' } } },
      },
    }),
  ),
}

interface Shaping {
  tools?: FunctionTool[] | null
  tool_choice?: string | { function?: { name?: string } } | null
  response_format?: { type: string; json_schema?: { schema?: Schema } } | null
}

/** The same in our words; throws BAD_REQUEST. */
export function shapeOf({ tools, tool_choice: choice, response_format: format }: Shaping): GenerationInput {
  const json = format?.type === 'json_schema' ? format.json_schema?.schema : format?.type === 'json_object' || undefined
  if (format?.type === 'json_schema' && json === undefined)
    throw fail('BAD_REQUEST', { message: 'response_format.json_schema.schema: missing', param: 'response_format' })
  const shape = json === undefined ? {} : { json: json as true | Schema }
  if (!tools?.length || choice === 'none') return shape
  if (typeof choice === 'string' && choice !== 'auto' && choice !== 'required')
    throw fail('BAD_REQUEST', {
      message: 'tool_choice: expected none, auto, required or a function',
      param: 'tool_choice',
    })
  const named = typeof choice === 'object' ? choice?.function?.name : undefined
  if (named !== undefined && !tools.some((tool) => tool.function.name === named))
    throw fail('BAD_REQUEST', { message: `tool_choice: no tool "${named.slice(0, 64)}"`, param: 'tool_choice' })
  return {
    ...shape,
    tools: tools.map(({ function: { name, description, parameters } }) => ({
      name,
      ...(description && { description }),
      ...(parameters && { parameters }),
    })),
    toolChoice: named !== undefined ? { name: named } : choice === 'required' ? 'required' : 'auto',
  }
}

/** What a message says of calls. */
export const callsIn = (message: { tool_calls?: CallPart[] | null; tool_call_id?: string }): Partial<ChatMessage> => ({
  ...(message.tool_calls?.length && {
    calls: message.tool_calls.map(({ id, function: { name, arguments: given } }) => ({ id, name, arguments: given })),
  }),
  ...(message.tool_call_id !== undefined && { callId: message.tool_call_id }),
})

/** Calls as they come together from their parts. */
export class Calls {
  readonly #calls: ToolCall[] = []

  add({ call }: TokenEvent) {
    if (!call) return
    this.#calls[call.index] ??= { id: call.id ?? '', name: call.name ?? '', arguments: '' }
    this.#calls[call.index].arguments += call.arguments
  }

  get made(): readonly ToolCall[] {
    return this.#calls.filter(Boolean)
  }

  /** `tool_calls` of a message; nothing where none was called. */
  get field() {
    if (this.made.length === 0) return {}
    return {
      tool_calls: this.made.map(({ id, name, arguments: given }) => ({
        id,
        type: 'function',
        function: { name, arguments: given },
      })),
    }
  }
}

/** A part of a call as a delta: what names it comes only with its first part. */
export const callDelta = ({ index, id, name, arguments: given }: NonNullable<TokenEvent['call']>) => ({
  tool_calls: [
    {
      index,
      ...(id !== undefined && { id, type: 'function' }),
      function: { ...(name !== undefined && { name }), arguments: given },
    },
  ],
})
