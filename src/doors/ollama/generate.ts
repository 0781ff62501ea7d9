import { asAthanorError, fail } from '../../base/errors.ts'
import { type Static, type TObject, Type } from '../../base/schema.ts'
import type { ChatMessage, GenerationEvent } from '../../engine/messages.ts'
import { askRef } from '../../serve/deployments.ts'
import type { GenerationInput } from '../../serve/generation.ts'
import { beginGeneration, callerOf } from '../ask.ts'
import { logprobOf, type TokenEvent } from '../openai/generation.ts'
import { Calls, shapeOf, shaping } from '../openai/tools.ts'
import { type House, type Route, route } from '../route.ts'
import { openLines } from '../sse.ts'
import { findNamed } from './names.ts'

const tag = 'ollama'
const Common = {
  model: Type.String(),
  stream: Type.Optional(Type.Boolean()),
  options: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  format: Type.Optional(Type.Unsafe<string | Record<string, unknown> | null>({ type: ['string', 'object', 'null'] })),
  keep_alive: Type.Optional(Type.Union([Type.String(), Type.Number(), Type.Null()])),
  images: Type.Optional(Type.Unknown()),
  tools: shaping.tools,
  think: Type.Optional(Type.Unknown()),
  logprobs: Type.Optional(Type.Boolean()),
  top_logprobs: Type.Optional(Type.Integer({ minimum: 0, maximum: 20 })),
}
type Common = Static<TObject<typeof Common>>
type Call = Pick<Parameters<Route['handle']>[1], 'request' | 'reply'>

const names: Record<string, keyof GenerationInput> = {
  num_predict: 'maxTokens',
  temperature: 'temperature',
  top_p: 'topP',
  top_k: 'topK',
  seed: 'seed',
  repeat_penalty: 'repetitionPenalty',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
}
/** A text may get as long as the model can read, unless the request says less. */
const NO_LIMIT = 1_000_000

const refuse = (what: string) => fail('BAD_REQUEST', { message: `${what} is not supported by this model's engine` })

/** The form of the answer: any JSON, or what a schema describes. */
function formOf(format: Common['format']): GenerationInput {
  if (format === undefined || format === null || format === '') return {}
  if (typeof format === 'object') return { json: format }
  if (format === 'json') return { json: true }
  throw fail('BAD_REQUEST', { message: 'format: expected "json" or a JSON schema' })
}

function settingsOf({ options, format, images, tools, think, logprobs, top_logprobs: top }: Common): GenerationInput {
  if (Array.isArray(images) && images.length > 0) throw refuse('images')
  if (think !== undefined && think !== null && think !== false) throw refuse('think')
  const settings: Record<string, unknown> = { maxTokens: NO_LIMIT }
  for (const [name, value] of Object.entries(options ?? {})) {
    if (name === 'stop') {
      const stop = Array.isArray(value) ? value : [value]
      if (stop.some((text) => typeof text !== 'string'))
        throw fail('BAD_REQUEST', { message: 'options.stop: expected strings' })
      settings.stop = stop
    } else if (Object.hasOwn(names, name)) {
      if (typeof value !== 'number') throw fail('BAD_REQUEST', { message: `options.${name}: expected a number` })
      // below zero means without a limit
      settings[names[name]] = name === 'num_predict' && value < 0 ? NO_LIMIT : value
    }
  }
  return { ...settings, ...formOf(format), ...shapeOf({ tools }), ...(logprobs && { logprobs: top ?? 0 }) }
}

/** Calls as Ollama has them, their arguments as an object; one that was cut off is none. */
const callsOf = (calls: Calls) => {
  const whole = calls.made.flatMap(({ name, arguments: given }) => {
    try {
      return [{ function: { name, arguments: JSON.parse(given) as unknown } }]
    } catch {
      return []
    }
  })
  return whole.length > 0 && { tool_calls: whole }
}

/** Loads a model, or unloads it where it is to be kept for no time; what an empty prompt asks for. */
async function loadOnly(house: House, ref: string, keepAlive: Common['keep_alive']): Promise<'load' | 'unload'> {
  const away = keepAlive === 0 || (typeof keepAlive === 'string' && /^0+(ms|s|m|h)?$/.test(keepAlive))
  if (away) await house.deployments.unload(ref)
  else await house.deployments.load(ref)
  return away ? 'unload' : 'load'
}

const nanoseconds = (ms: number) => Math.round(ms * 1e6)

/** Answers with one line an event, or with all in one object; `say` puts a text into the answer's own field. */
async function answer(
  house: House,
  call: Call,
  body: Common,
  input: GenerationInput | undefined,
  say: (text: string, calls?: object | false) => Record<string, unknown>,
) {
  const started = performance.now()
  const version = await findNamed(house, body.model)
  const ref = askRef(version)
  const head = () => ({ model: body.model, created_at: new Date().toISOString() })
  if (!input) {
    const reason = await loadOnly(house, ref, body.keep_alive)
    return { ...head(), ...say(''), done: true, done_reason: reason }
  }
  const settings = { ...settingsOf(body), ...input, whole: body.stream === false }
  const { events } = await beginGeneration(callerOf('ollama', house, call), ref, settings)
  const first = performance.now()
  const ended = ({ finish, usage }: Extract<GenerationEvent, { type: 'end' }>) => ({
    done: true,
    done_reason: finish === 'length' ? 'length' : 'stop',
    total_duration: nanoseconds(performance.now() - started),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(first - started),
    eval_count: usage.completionTokens,
    eval_duration: nanoseconds(performance.now() - first),
  })
  const calls = new Calls()
  const chances = (tokens: readonly TokenEvent[]) => body.logprobs && { logprobs: tokens.map(logprobOf) }
  if (body.stream === false) {
    let text = ''
    let end = {}
    const tokens: TokenEvent[] = []
    for await (const event of events) {
      text += event.text
      if (event.type === 'end') end = ended(event)
      else {
        calls.add(event)
        if (body.logprobs) tokens.push(event)
      }
    }
    return { ...head(), ...say(text, callsOf(calls)), ...chances(tokens), ...end }
  }
  const out = openLines(call.request, call.reply)
  const send = (line: object) => out.write(`${JSON.stringify(line)}\n`)
  try {
    for await (const event of events) {
      if (event.type === 'token') {
        calls.add(event)
        const said = event.text !== '' || (body.logprobs && !event.call)
        if (said) await send({ ...head(), ...say(event.text), ...chances([event]), done: false })
        continue
      }
      if (event.text !== '') await send({ ...head(), ...say(event.text), done: false })
      const made = callsOf(calls)
      if (made) await send({ ...head(), ...say('', made), done: false })
      await send({ ...head(), ...say(''), ...ended(event) })
    }
  } catch (thrown) {
    const { message, hint } = asAthanorError(thrown)
    await send({ error: `${message}. ${hint}` })
  } finally {
    out.end()
  }
  return undefined
}

export const generateRoutes = [
  route(
    'POST /ollama/api/generate',
    { summary: 'Continue a text; an empty prompt loads the model', permission: 'use', tag },
    {
      body: Type.Object({
        ...Common,
        prompt: Type.Optional(Type.String()),
        suffix: Type.Optional(Type.String()),
        system: Type.Optional(Type.String()),
        raw: Type.Optional(Type.Boolean()),
      }),
    },
    async (house, call) => {
      const { body } = call
      const { prompt = '', system, suffix } = body
      if (suffix) throw refuse('suffix')
      const say = (response: string) => ({ response })
      if (prompt === '') return answer(house, call, body, undefined, say)
      const { pipeline = {} } = (await findNamed(house, body.model)).manifest
      // a model of conversations reads the prompt as what its user says
      if ('chatTemplate' in pipeline && !body.raw) {
        const messages = [{ role: 'user', content: prompt }]
        if (system) messages.unshift({ role: 'system', content: system })
        return answer(house, call, body, { messages }, say)
      }
      return answer(house, call, body, { prompt: system ? `${system}\n\n${prompt}` : prompt }, say)
    },
  ),
  route(
    'POST /ollama/api/chat',
    { summary: 'Answer a conversation; no messages load the model', permission: 'use', tag },
    {
      body: Type.Object({
        ...Common,
        messages: Type.Optional(
          Type.Array(
            Type.Object({
              role: Type.String(),
              content: Type.Optional(Type.String()),
              images: Type.Optional(Type.Unknown()),
              tool_calls: Type.Optional(
                Type.Array(
                  Type.Object({
                    function: Type.Object({
                      name: Type.String(),
                      arguments: Type.Record(Type.String(), Type.Unknown()),
                    }),
                  }),
                  { maxItems: 128 },
                ),
              ),
            }),
            { maxItems: 1000 },
          ),
        ),
      }),
    },
    async (house, call) => {
      const { body } = call
      const messages = (body.messages ?? []).map(
        ({ role, content = '', images, tool_calls: made = [] }): ChatMessage => {
          if (Array.isArray(images) && images.length > 0) throw refuse('images')
          const calls = made.map(({ function: { name, arguments: given } }, i) => ({
            id: `call_${i}`,
            name,
            arguments: JSON.stringify(given),
          }))
          return { role, content, ...(calls.length > 0 && { calls }) }
        },
      )
      return answer(house, call, body, messages.length === 0 ? undefined : { messages }, (content, calls) => ({
        message: { role: 'assistant', content, ...calls },
      }))
    },
  ),
]
