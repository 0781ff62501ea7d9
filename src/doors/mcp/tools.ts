import { asAthanorError, fail } from '../../base/errors.ts'
import { type HubTask, hubTaskOf } from '../../bundle/hub.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { askRef, type Resolved } from '../../serve/deployments.ts'
import type { GenerationInput } from '../../serve/generation.ts'
import type { Ranked } from '../../serve/rank.ts'
import { beginGeneration, type Caller, classify, classifyFiles, findModel } from '../ask.ts'
import { counted } from '../counted.ts'
import { imageFromText } from '../data.ts'
import { schemasOf } from '../hub.ts'
import { nested, tensorFrom } from '../nested.ts'
import type { House } from '../route.ts'
import { askTexts, embed } from '../vectors.ts'
import { runView, type Slot, viewOf } from '../views.ts'

type Schema = Record<string, unknown>
type Arguments = Record<string, unknown>

/** A model of one task as a tool: what it takes and gives, and how it is run. */
interface Tool {
  what: string
  input(manifest: Manifest): Schema
  output(manifest: Manifest): Schema
  run(caller: Caller, version: Resolved, given: Arguments): Promise<Record<string, unknown>>
}

const object = (properties: Schema, required: readonly string[]): Schema => ({ type: 'object', properties, required })

/** Lists as deep as a tensor has axes. */
function listOf({ dtype, shape }: Slot): Schema {
  const element: Schema = { type: dtype === 'string' ? 'string' : dtype === 'bool' ? 'boolean' : 'number' }
  return shape.toReversed().reduce<Schema>(
    (items, size) => ({
      type: 'array',
      items,
      ...(size >= 0 && { minItems: size, maxItems: size }),
    }),
    element,
  )
}

const slotsSchema = (slots: readonly Slot[]) =>
  object(
    Object.fromEntries(slots.map((slot) => [slot.name, listOf(slot)])),
    slots.map(({ name }) => name),
  )

const text = (value: unknown, name: string): string => {
  if (typeof value === 'string') return value
  throw fail('BAD_REQUEST', { message: `${name}: expected a string` })
}

const tensorTool: Tool = {
  what: 'Runs a model on tensors.',
  input: (manifest) => slotsSchema(viewOf({ name: '', manifest }).inputs(manifest)),
  output: (manifest) => slotsSchema(viewOf({ name: '', manifest }).outputs(manifest)),
  async run(caller, version, given) {
    const { manifest, name } = version
    const slots = viewOf(version).inputs(manifest)
    const tensors = Object.entries(given).map(([input, value]) => {
      const slot = slots.find((one) => one.name === input) ?? { name: input, dtype: 'float32' as const, shape: [] }
      return [input, tensorFrom(value, slot, input.slice(0, 80), name)]
    })
    const answer = await runView(caller, version, Object.fromEntries(tensors))
    return Object.fromEntries(Object.entries(answer.tensors).map(([output, tensor]) => [output, nested(tensor)]))
  },
}

/** A tool that says what one thing is, its labels best first. */
const classifier = (
  what: string,
  properties: Schema,
  ask: (caller: Caller, ref: string, given: Arguments, topK?: number) => Promise<{ ranked: Ranked[][] }>,
): Tool => ({
  what,
  input: ({ labels }) => {
    const most = Math.max(1, labels.length)
    const top = { type: 'integer', minimum: 1, maximum: most, description: 'labels to answer with' }
    return object({ ...properties, top_k: top }, Object.keys(properties))
  },
  output: ({ labels }) => {
    const ranked = { label: { type: 'string' }, score: { type: 'number' } }
    const label = { type: 'string', ...(labels.length <= 100 && { enum: labels }) }
    const all = { type: 'array', items: object(ranked, ['label', 'score']) }
    return object({ label, score: { type: 'number' }, labels: all }, ['label', 'score', 'labels'])
  },
  async run(caller, version, given) {
    const { top_k: topK } = given
    if (topK !== undefined && (typeof topK !== 'number' || !Number.isInteger(topK) || topK < 1 || topK > 10_000))
      throw fail('BAD_REQUEST', { message: 'top_k: expected a whole number from 1' })
    const { ranked } = await ask(caller, askRef(version), given, topK as number | undefined)
    return { ...ranked[0][0], labels: ranked[0] }
  },
})

/** A tool whose answer to a text is a list under one name. */
const teller = (what: string, kind: 'fills' | 'entities'): Tool => ({
  what,
  input: () => object({ text: { type: 'string' } }, ['text']),
  output: () => object({ [kind]: { type: 'array' } }, [kind]),
  async run(caller, version, given) {
    const { output } = await askTexts(caller, askRef(version), [text(given.text, 'text')], [version.manifest.task])
    return { [kind]: (output as unknown as Record<string, unknown[]>)[kind][0] }
  },
})

const tools: Partial<Record<string, Tool>> = {
  tensor: tensorTool,
  'feature-extraction': {
    what: 'Turns a text into a vector; texts of like meaning have like vectors.',
    input: () => object({ text: { type: 'string' } }, ['text']),
    output: () => object({ embedding: { type: 'array', items: { type: 'number' } } }, ['embedding']),
    async run(caller, version, given) {
      const { vectors } = await embed(caller, askRef(version), [text(given.text, 'text')])
      return { embedding: Array.from(vectors[0]) }
    },
  },
  'text-classification': classifier(
    'Classifies a text.',
    { text: { type: 'string', description: 'the text to classify' } },
    (caller, ref, given, topK) => classify(caller, ref, [text(given.text, 'text')], topK),
  ),
  'image-classification': classifier(
    'Says what an image shows.',
    { image: { type: 'string', description: 'an image file in base64, or a data URL' } },
    (caller, ref, given, topK) =>
      classifyFiles(caller, ref, [imageFromText(text(given.image, 'image'), 'image')], topK),
  ),
  'fill-mask': teller('Says which words fit the masks of a text.', 'fills'),
  'token-classification': teller('Marks stretches of a text with labels.', 'entities'),
  'text-generation': {
    what: 'Writes a text: what continues a prompt, or answers it.',
    input: () =>
      object(
        {
          prompt: { type: 'string', description: 'the text to continue' },
          max_tokens: { type: 'integer', minimum: 1, default: 256 },
          temperature: { type: 'number', minimum: 0, maximum: 100, default: 1 },
          seed: { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 },
          stop: { type: 'array', items: { type: 'string' }, maxItems: 16 },
        },
        ['prompt'],
      ),
    output: () =>
      object({ text: { type: 'string' }, finish: { type: 'string', enum: ['stop', 'length', 'cancelled'] } }, [
        'text',
        'finish',
      ]),
    async run(caller, version, { prompt, max_tokens, ...given }) {
      if (given.stop !== undefined && !Array.isArray(given.stop))
        throw fail('BAD_REQUEST', { message: 'stop: expected a list' })
      const stop = ((given.stop ?? []) as unknown[]).map((one, i) => text(one, `stop.${i}`))
      const settings = {
        maxTokens: max_tokens,
        temperature: given.temperature,
        seed: given.seed,
        stop,
      } as GenerationInput
      const asked = text(prompt, 'prompt')
      // a model of conversations reads the prompt as what its user says
      const converses = 'chatTemplate' in (version.manifest.pipeline ?? {})
      const said = converses ? { messages: [{ role: 'user', content: asked }] } : { prompt: asked }
      const { events } = await beginGeneration(caller, askRef(version), { ...settings, ...said })
      let written = ''
      let finish = 'stop'
      for await (const event of events) {
        written += event.text
        if (event.type === 'end') finish = event.finish
      }
      return { text: written, finish }
    },
  },
}

/** A model of one of the hub's tasks: its inputs and parameters side by side. */
const hubTool = ({ what, inputs, parameters, required = [] }: HubTask): Tool => ({
  what,
  input: () => object(schemasOf({ ...inputs, ...parameters }), [...Object.keys(inputs), ...required]),
  output: () => object({ result: {} }, ['result']),
  async run({ house, door, requestId, ...options }, version, given) {
    const [own, others] = [true, false].map((mine) =>
      Object.fromEntries(Object.entries(given).filter(([field]) => Object.hasOwn(inputs, field) === mine)),
    )
    const ref = askRef(version)
    const call = () => house.deployments.ask(ref, own, others, options)
    const { output } = await counted(house, door, ref, requestId, call)
    return { result: (output as Extract<typeof output, { kind: 'hub' }>).value }
  },
})

/** How a model of a task is a tool; undefined where it is none. */
function toolOf(task: string): Tool | undefined {
  const hub = hubTaskOf(task)
  return hub ? hubTool(hub) : tools[task]
}

const PAGE = 100

/** A page of tools, a tool a model. */
export async function listTools({ registry, deployments }: House, cursor: unknown) {
  const from = cursor === undefined ? 0 : Number(cursor)
  if (!Number.isInteger(from) || from < 0) throw fail('BAD_REQUEST', { message: 'cursor: not one that was given out' })
  const models = (await registry.list()).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const shown = await Promise.all(models.slice(from, from + PAGE).map(({ name }) => deployments.resolve(name)))
  return {
    tools: shown.flatMap(({ name, manifest }) => {
      const tool = toolOf(manifest.task)
      if (!tool) return []
      const { description, labels } = manifest
      const about = labels.length > 0 ? `${tool.what} Labels: ${labels.slice(0, 50).join(', ')}.` : tool.what
      return {
        name,
        description: description ? `${description} ${about}` : about,
        inputSchema: tool.input(manifest),
        outputSchema: tool.output(manifest),
        annotations: { readOnlyHint: true, openWorldHint: false },
      }
    }),
    ...(from + PAGE < models.length && { nextCursor: String(from + PAGE) }),
  }
}

/** Runs a tool. What the model says of its input is a result that the caller's model can read; an unknown tool is an error. */
export async function callTool(caller: Caller, { name, arguments: given = {} }: Arguments) {
  const version = await findModel(caller.house, text(name, 'name'))
  const tool = toolOf(version.manifest.task)
  if (!tool) throw fail('BAD_REQUEST', { message: `model "${version.name}" is no tool` })
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw fail('BAD_REQUEST', { message: 'arguments: expected an object' })
  try {
    const structuredContent = await tool.run(caller, version, given as Arguments)
    return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent, isError: false }
  } catch (thrown) {
    const { message, hint } = asAthanorError(thrown)
    return { content: [{ type: 'text', text: `${message}. ${hint}` }], isError: true }
  }
}
