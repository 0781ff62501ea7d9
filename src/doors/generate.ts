import { asAthanorError } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import type { GenerationEvent } from '../engine/messages.ts'
import { beginGeneration, callerOf } from './ask.ts'
import { route } from './route.ts'
import { openEvents } from './sse.ts'

const Message = Type.Object({ role: Type.String(), content: Type.String() }, { additionalProperties: false })
const Body = Type.Object(
  {
    prompt: Type.Optional(Type.String()),
    messages: Type.Optional(Type.Array(Message)),
    /** Answer with server-sent events: `token` for each, then `end`, or `error`. */
    stream: Type.Optional(Type.Boolean()),
    parameters: Type.Optional(
      Type.Object(
        {
          maxTokens: Type.Optional(Type.Number()),
          temperature: Type.Optional(Type.Number()),
          topP: Type.Optional(Type.Number()),
          topK: Type.Optional(Type.Number()),
          seed: Type.Optional(Type.Number()),
          stop: Type.Optional(Type.Array(Type.String())),
          repetitionPenalty: Type.Optional(Type.Number()),
          presencePenalty: Type.Optional(Type.Number()),
          frequencyPenalty: Type.Optional(Type.Number()),
          logprobs: Type.Optional(Type.Number()),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)

const Generation = Type.Object({
  model: Type.String(),
  version: Type.Integer(),
  requestId: Type.String(),
  text: Type.String(),
  finish: Type.String(),
  usage: Type.Object({ promptTokens: Type.Integer(), completionTokens: Type.Integer() }),
  /** Each token with its log-probability and alternatives, when logprobs were asked for. */
  tokens: Type.Optional(Type.Array(Type.Unknown())),
  milliseconds: Type.Number(),
})

export const generateRoutes = [
  route(
    'POST /api/models/:model/generate',
    {
      summary: 'Write a text: as one answer, or as server-sent events with "stream": true',
      permission: 'use',
      tag: 'predict',
    },
    { params: Type.Object({ model: Type.String() }), body: Body, response: Generation },
    async (house, { params, body, request, reply }) => {
      const started = performance.now()
      const { stream = false, parameters = {}, ...prompt } = body
      const caller = callerOf('native', house, { request, reply })
      const { version, events } = await beginGeneration(caller, params.model, { ...prompt, ...parameters })
      const about = { model: version.name, version: version.version, requestId: request.id }
      if (stream) {
        const out = openEvents(request, reply)
        const send = (type: string, data: object) => out.write(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`)
        try {
          for await (const event of events)
            await send(event.type, event.type === 'end' ? { ...event, ...about } : event)
        } catch (error) {
          await send('error', { type: 'error', error: { ...asAthanorError(error).toJSON(), requestId: request.id } })
        } finally {
          out.end()
        }
        return undefined
      }
      let text = ''
      const tokens: GenerationEvent[] = []
      let end: Extract<GenerationEvent, { type: 'end' }> | undefined
      for await (const event of events) {
        text += event.text
        if (event.type === 'end') end = event
        else if (parameters.logprobs !== undefined) tokens.push(event)
      }
      return {
        ...about,
        text,
        finish: end!.finish,
        usage: end!.usage,
        ...(parameters.logprobs !== undefined && { tokens }),
        milliseconds: performance.now() - started,
      }
    },
  ),
]
