import { asAthanorError } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { beginGeneration, callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { openEvents } from '../sse.ts'
import { settingsFrom } from './settings.ts'

/** Triton's generate extension: a text in, a text out, at once or as server-sent events. */
const Body = Type.Object({
  id: Type.Optional(Type.String({ maxLength: 200 })),
  text_input: Type.String(),
  parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})

const refOf = ({ model, version }: { model: string; version?: string }) =>
  version === undefined ? model : `${model}@${version}`

export const generateRoutes = ['/v2/models/:model', '/v2/models/:model/versions/:version'].flatMap((path) =>
  (['generate', 'generate_stream'] as const).map((action) =>
    route(
      `POST ${path}/${action}`,
      { summary: 'Write a text', permission: 'use', tag: 'open inference protocol' },
      { params: Type.Object({ model: Type.String(), version: Type.Optional(Type.String()) }), body: Body },
      async (house, { params, body, request, reply }) => {
        const caller = callerOf('oip', house, { request, reply })
        const input = { ...settingsFrom(body.parameters), prompt: body.text_input }
        const { version, events } = await beginGeneration(caller, refOf(params), input)
        const head = {
          ...(body.id !== undefined && { id: body.id }),
          model_name: version.name,
          model_version: String(version.version),
        }
        if (action === 'generate') {
          let text = ''
          for await (const event of events) text += event.text
          return { ...head, text_output: text }
        }
        const out = openEvents(request, reply)
        try {
          for await (const { text } of events)
            if (text !== '') await out.write(`data: ${JSON.stringify({ ...head, text_output: text })}\n\n`)
        } catch (thrown) {
          const { message, hint } = asAthanorError(thrown)
          await out.write(`data: ${JSON.stringify({ error: `${message}. ${hint}` })}\n\n`)
        } finally {
          out.end()
        }
        return undefined
      },
    ),
  ),
)
