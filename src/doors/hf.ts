import { asAthanorError, fail } from '../base/errors.ts'
import { type Static, type TObject, Type } from '../base/schema.ts'
import type { Fill } from '../engine/messages.ts'
import type { Version } from '../registry/registry.ts'
import { askRef } from '../serve/deployments.ts'
import { beginGeneration, type Caller, callerOf, classify, classifyFiles, findModel } from './ask.ts'
import { collect } from './body.ts'
import { counted } from './counted.ts'
import { imageFromText } from './data.ts'
import type { Door } from './door.ts'
import { nested, tensorFrom } from './nested.ts'
import { chatRoutes } from './openai/chat.ts'
import { completionRoutes } from './openai/completions.ts'
import { type Route, route } from './route.ts'
import { openEvents } from './sse.ts'
import { askTexts, embed, likeness } from './vectors.ts'
import { maskOf, runView, viewOf } from './views.ts'

const tag = 'hugging face'
const Body = Type.Object({
  inputs: Type.Unknown(),
  parameters: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  stream: Type.Optional(Type.Boolean()),
  options: Type.Optional(Type.Unknown()),
})
type Given = Static<typeof Body>
type Call = Pick<Parameters<Route['handle']>[1], 'request' | 'reply'>

const bad = (message: string) => fail('BAD_REQUEST', { message })

function textsOf(inputs: unknown): string[] {
  const texts = Array.isArray(inputs) ? inputs : [inputs]
  if (texts.length === 0 || texts.some((text) => typeof text !== 'string'))
    throw bad('inputs: expected a string or a list of strings')
  return texts as string[]
}

/** A whole number among the parameters, within a range. */
function wholeIn(parameters: Record<string, unknown>, name: string, minimum: number, maximum: number) {
  const value = parameters[name]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < minimum || value > maximum)
    throw bad(`parameters.${name}: expected a whole number from ${minimum} to ${maximum}`)
  return value
}

async function classified(caller: Caller, ref: string, { inputs, parameters }: Given) {
  const topK = wholeIn(parameters ?? {}, 'top_k', 1, 10_000)
  return (await classify(caller, ref, textsOf(inputs), topK)).ranked
}

const numbers: Record<string, string> = {
  max_new_tokens: 'maxTokens',
  temperature: 'temperature',
  top_p: 'topP',
  top_k: 'topK',
  seed: 'seed',
  repetition_penalty: 'repetitionPenalty',
  frequency_penalty: 'frequencyPenalty',
}

/** Settings in Text Generation Inference's words. */
function settingsOf(parameters: Record<string, unknown>) {
  const settings: Record<string, unknown> = {}
  for (const [name, ours] of Object.entries(numbers)) {
    const value = parameters[name]
    if (value === undefined || value === null) continue
    if (typeof value !== 'number') throw bad(`parameters.${name}: expected a number`)
    settings[ours] = value
  }
  if (parameters.do_sample === false) settings.temperature = 0
  const stop = parameters.stop ?? parameters.stop_sequences
  if (stop !== undefined && stop !== null) {
    if (!Array.isArray(stop) || stop.some((text) => typeof text !== 'string'))
      throw bad('parameters.stop: expected a list of strings')
    settings.stop = stop
  }
  return settings
}

const finish = { stop: 'eos_token', length: 'length', calls: 'eos_token', cancelled: 'eos_token' } as const

const tokenOf = ({ token, text, logprob = 0 }: { token: number; text: string; logprob?: number }) => ({
  id: token,
  text,
  logprob,
  special: false,
})

async function written(caller: Caller, ref: string, { inputs, parameters, stream }: Given, { request, reply }: Call) {
  const given = parameters ?? {}
  const [prompt, ...others] = textsOf(inputs)
  if (others.length > 0) throw bad('inputs: expected one string')
  const details = given.details === true
  const settings = { ...settingsOf(given), prompt, ...(details && { logprobs: 0 }) }
  const { events } = await beginGeneration(caller, ref, settings)
  const before = given.return_full_text === true ? prompt : ''
  if (!stream) {
    let text = before
    let end = {}
    const tokens: ReturnType<typeof tokenOf>[] = []
    for await (const event of events) {
      text += event.text
      if (event.type === 'token') {
        tokens.push(tokenOf(event))
        continue
      }
      const last = tokens.at(-1)
      if (last) last.text += event.text // what was held back
      const { completionTokens: generated_tokens } = event.usage
      end = { finish_reason: finish[event.finish], generated_tokens, seed: null, prefill: [], tokens }
    }
    return [{ generated_text: text, ...(details && { details: end }) }]
  }
  const out = openEvents(request, reply)
  const send = (data: unknown) => out.write(`data: ${JSON.stringify(data)}\n\n`)
  try {
    let text = before
    let index = 0
    // a chunk is sent when the next is there: the last carries the whole text
    let held: ReturnType<typeof tokenOf> | undefined
    for await (const event of events) {
      text += event.text
      if (event.type === 'token') {
        if (held) await send({ index: ++index, token: held, generated_text: null, details: null })
        held = tokenOf(event)
        continue
      }
      const last = held ?? tokenOf({ token: 0, text: '' })
      await send({
        index: ++index,
        token: { ...last, text: last.text + event.text },
        generated_text: text,
        details: { finish_reason: finish[event.finish], generated_tokens: event.usage.completionTokens, seed: null },
      })
    }
  } catch (thrown) {
    const { message, hint } = asAthanorError(thrown)
    await send({ error: `${message}. ${hint}`, error_type: 'generation' })
  } finally {
    out.end()
  }
  return undefined
}

/** Labels of an image: its file, or that in base64 or as a data URL. */
async function imagesClassified(caller: Caller, ref: string, { inputs, parameters }: Given) {
  const topK = wholeIn(parameters ?? {}, 'top_k', 1, 10_000) ?? 5
  const images =
    inputs instanceof Uint8Array ? [inputs] : textsOf(inputs).map((text, i) => imageFromText(text, `inputs[${i}]`))
  const { ranked } = await classifyFiles(caller, ref, images, topK)
  return Array.isArray(inputs) ? ranked : ranked[0]
}

/** Vectors of texts, or, of a source sentence and others, how like they are. */
async function embedded(caller: Caller, ref: string, { inputs }: Given) {
  const { source_sentence: source, sentences } = (inputs ?? {}) as Record<string, unknown>
  if (typeof source === 'string') return (await likeness(caller, ref, source, textsOf(sentences))).scores
  const { vectors } = await embed(caller, ref, textsOf(inputs))
  const lists = vectors.map((vector) => Array.from(vector))
  return typeof inputs === 'string' ? lists[0] : lists
}

interface Said {
  fills?: Fill[][][]
  entities?: { label: string; score: number; start: number; end: number; text: string }[][]
}

/** A text with one of its masks filled; a piece of a word goes to what is before it. */
function filler(text: string, mask: string) {
  const pieces = text.split(mask)
  return (at: number, token: string) => {
    const before = pieces.slice(0, at + 1).join(mask)
    const after = pieces.slice(at + 1).join(mask)
    return (token.startsWith('##') ? before.trimEnd() + token.slice(2) : before + token) + after
  }
}

/** Words for masks, or labelled stretches. */
async function answered(caller: Caller, ref: string, { inputs, parameters }: Given) {
  const texts = textsOf(inputs)
  const topK = wholeIn(parameters ?? {}, 'top_k', 1, 100)
  const asked = { ...caller, ...(topK !== undefined && { topK }) }
  const { output, manifest } = await askTexts(asked, ref, texts, ['fill-mask', 'token-classification'])
  const { fills, entities } = output as unknown as Said
  const lists = fills
    ? fills.map((masks, i) => {
        const fill = filler(texts[i], maskOf(manifest))
        const each = masks.map((words, at) =>
          words.map(({ token, id, score }) => ({ score, token: id, token_str: token, sequence: fill(at, token) })),
        )
        return each.length === 1 ? each[0] : each
      })
    : (entities ?? []).map((list) =>
        list.map(({ label, text, ...rest }) => ({ entity_group: label, word: text, ...rest })),
      )
  return typeof inputs === 'string' ? lists[0] : lists
}

async function tensors(caller: Caller, version: Version, { inputs }: Given) {
  const slots = viewOf(version).inputs(version.manifest)
  const named =
    typeof inputs === 'object' && inputs !== null && !Array.isArray(inputs)
      ? (inputs as Record<string, unknown>)
      : slots.length === 1
        ? { [slots[0].name]: inputs }
        : undefined
  if (!named) throw bad(`inputs: expected an object with ${slots.map(({ name }) => name).join(', ')}`)
  const read = Object.entries(named).map(([name, value]) => {
    const slot = slots.find((one) => one.name === name) ?? { name, dtype: 'float32' as const, shape: [] }
    return [name, tensorFrom(value, slot, `inputs.${name.slice(0, 80)}`, version.name)]
  })
  const { tensors: outputs } = await runView(caller, version, Object.fromEntries(read))
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, nested(tensor)]))
}

/** What a model of another of the hub's tasks says, as the library that runs it has it. */
async function asked({ house, door, requestId, ...options }: Caller, ref: string, { inputs, parameters }: Given) {
  const call = () => house.deployments.ask(ref, inputs, parameters ?? undefined, options)
  const { output } = await counted(house, door, ref, requestId, call)
  return (output as Extract<typeof output, { kind: 'hub' }>).value
}

const AnyBody = Type.Record(Type.String(), Type.Unknown())
const ByModel = Type.Object({ model: Type.String() })

/** `inputs` and `parameters`, answered in the shape of the model's task. */
const routes = ['/hf/models/:model', '/hf/models/:model/pipeline/:task'].map((path) =>
  route(
    `POST ${path}`,
    { summary: 'Run a model in the shape of its task', permission: 'use', tag },
    { params: ByModel, body: Body },
    async (house, call) => {
      const version = await findModel(house, call.params.model)
      const caller = callerOf('hf', house, call)
      const ref = askRef(version)
      const task: string = version.manifest.task
      switch (task) {
        case 'image-classification':
          return imagesClassified(caller, ref, call.body)
        case 'feature-extraction':
          return embedded(caller, ref, call.body)
        case 'fill-mask':
        case 'token-classification':
          return answered(caller, ref, call.body)
        case 'text-classification':
          return classified(caller, ref, call.body)
        case 'text-generation':
          return written(caller, ref, call.body, call)
        case 'tensor':
          return tensors(caller, version, call.body)
        default:
          return asked(caller, ref, call.body)
      }
    },
  ),
)

/** Its clients write texts and converse in OpenAI's words below the model's own address. */
const openaiRoutes = [...completionRoutes, ...chatRoutes].map(({ path, summary, schemas, handle }) =>
  route(
    `POST /hf/models/:model${path}`,
    { summary, permission: 'use', tag },
    // the address names the model; what the body calls it does not matter
    { params: ByModel, body: Type.Omit(schemas.body as TObject, ['model']) as unknown as typeof AnyBody },
    async (house, call) => {
      const { do_sample: sample, ...body } = call.body
      const greedy = sample === false && body.temperature === undefined
      return handle(house, { ...call, body: { ...body, ...(greedy && { temperature: 0 }), model: call.params.model } })
    },
  ),
)

/** Hugging Face's Inference API: an error is one sentence. */
export const hf: Door = {
  name: 'hf',
  prefixes: ['/hf'],
  routes: [...routes, ...openaiRoutes],
  // an image or a recording as the body, as its clients send them
  readOctets: async (content, _headers, limit) => ({ inputs: await collect(content, limit) }),
  failure: ({ message, hint }) => ({ body: { error: `${message}. ${hint}` } }),
}
