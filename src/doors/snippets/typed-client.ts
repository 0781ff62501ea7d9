import { fail } from '../../base/errors.ts'
import { version as code } from '../../base/version.ts'
import { type FieldKind, type HubTask, hubTaskOf } from '../../bundle/hub.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { Version } from '../../registry/registry.ts'
import { type Slot, viewOf } from '../views.ts'

/** TypeScript that calls one model, for one task: the types of its signature and the functions. */
type Write = (version: Version) => string

const literal = (text: string) => JSON.stringify(text)

/** `number[][]` for a tensor of two axes. */
const typeOf = ({ dtype, shape }: Slot) =>
  `${dtype === 'string' ? 'string' : dtype === 'bool' ? 'boolean' : 'number'}${'[]'.repeat(shape.length)}`
const property = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : literal(name))
const comment = ({ dtype, shape }: Slot) =>
  `/** ${dtype} [${shape.map((size) => (size < 0 ? 'any' : size)).join(', ')}] */`
const interfaceOf = (name: string, slots: readonly Slot[]) =>
  `export interface ${name} {\n${slots.map((slot) => `  ${comment(slot)}\n  ${property(slot.name)}: ${typeOf(slot)}`).join('\n')}\n}`

const classifier =
  (argument: string, path: string): Write =>
  ({ manifest: { labels } }) =>
    `
/** What the model can say. */
export type Label = ${labels.length > 0 ? labels.map(literal).join(' | ') : 'string'}

export interface Ranked {
  label: Label
  score: number
}

/** Labels of each ${argument}, best first. */
export async function classifyAll(inputs: readonly string[], topK?: number): Promise<Ranked[][]> {
  const parameters = topK === undefined ? {} : { parameters: { topK } }
  return (await post<{ outputs: Ranked[][] }>('${path}', { inputs, ...parameters })).outputs
}

/** The likeliest label of one ${argument}. */
export async function classify(input: string): Promise<Ranked> {
  return (await classifyAll([input], 1))[0][0]
}
`

/** Functions for many texts and for one, whose answers are of one type. */
const teller =
  (what: string, name: string, type: string, types = ''): Write =>
  () =>
    `${types}
/** ${what} each text. */
export async function ${name}All(inputs: readonly string[]): Promise<${type}[]> {
  return (await post<{ outputs: ${type}[] }>('predict', { inputs })).outputs
}

/** ${what} one text. */
export async function ${name}(input: string): Promise<${type}> {
  return (await ${name}All([input]))[0]
}
`

const kinds: Record<FieldKind, string> = {
  text: 'string',
  texts: 'string[]',
  number: 'number',
  integer: 'number',
  boolean: 'boolean',
  image: 'string',
  audio: 'string',
}

/** A model of one of the hub's tasks: what it takes is typed, what it answers is as the library that runs it has it. */
const hubWriter = ({ what, inputs, parameters, required = [] }: HubTask): string => {
  const fields = (of: HubTask['inputs'], needed: readonly string[]) =>
    Object.entries(of)
      .map(([name, kind]) => `  ${name}${needed.includes(name) ? '' : '?'}: ${kinds[kind]}`)
      .join('\n')
  return `
export interface Inputs {
${fields(inputs, Object.keys(inputs))}
}

export interface Parameters {
${fields(parameters, required)}
}

/** ${what} Files go in base64. */
export async function run(inputs: Inputs, parameters${required.length > 0 ? ': Parameters' : ': Parameters = {}'}): Promise<unknown> {
  return (await post<{ outputs: unknown }>('run', { inputs, parameters })).outputs
}
`
}

const writers: Partial<Record<Manifest['task'], Write>> = {
  'text-classification': classifier('text', 'predict'),
  'image-classification': classifier('image (base64 of a file, or a data URL)', 'predict'),
  'feature-extraction': teller('The vector of', 'embed', 'number[]'),
  'fill-mask': teller(
    'For each mask the likeliest words, of',
    'fill',
    'Fill[][]',
    `
export interface Fill {
  token: string
  id: number
  score: number
}
`,
  ),
  'token-classification': teller(
    'Labelled stretches of',
    'mark',
    'Stretch[]',
    `
export interface Stretch {
  label: string
  score: number
  start: number
  end: number
  text: string
}
`,
  ),
  'text-generation': ({ manifest: { pipeline = {} } }) => `
export interface Settings {
  maxTokens?: number
  temperature?: number
  topP?: number
  topK?: number
  seed?: number
  stop?: string[]
}

export interface Written {
  text: string
  finish: 'stop' | 'length' | 'cancelled'
  usage: { promptTokens: number; completionTokens: number }
}

/** Continues a text. */
export function generate(prompt: string, parameters: Settings = {}): Promise<Written> {
  return post<Written>('generate', { prompt, parameters })
}
${
  'chatTemplate' in pipeline
    ? `
export interface Message {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** Answers a conversation. */
export function chat(messages: readonly Message[], parameters: Settings = {}): Promise<Written> {
  return post<Written>('generate', { messages, parameters })
}
`
    : ''
}`,
  tensor: (version) => {
    const view = viewOf(version)
    return `
${interfaceOf('Inputs', view.inputs(version.manifest))}

${interfaceOf('Outputs', view.outputs(version.manifest))}

interface Flat {
  shape: number[]
  data: unknown[]
}

function shapeOf(value: unknown): number[] {
  const shape: number[] = []
  for (let at = value; Array.isArray(at); at = at[0]) shape.push(at.length)
  return shape
}

function nest({ shape, data }: Flat): unknown {
  if (shape.length === 0) return data[0]
  let values = data
  for (const size of shape.slice(1).reverse())
    values = Array.from({ length: values.length / (size || 1) }, (_, i) => values.slice(i * size, (i + 1) * size))
  return values
}

/** Runs the model. */
export async function run(inputs: Inputs): Promise<Outputs> {
  const flat: Record<string, Flat> = {}
  for (const [name, value] of Object.entries(inputs as unknown as Record<string, unknown>)) {
    flat[name] = { shape: shapeOf(value), data: Array.isArray(value) ? value : [value] }
  }
  const { outputs } = await post<{ outputs: Record<string, Flat> }>('predict', { inputs: flat })
  return Object.fromEntries(Object.entries(outputs).map(([name, one]) => [name, nest(one)])) as unknown as Outputs
}
`
  },
}

/**
 * A module of TypeScript that calls one version with the types of its signature, and needs nothing but `fetch`. Throws
 * UNSUPPORTED for tasks that it cannot write one for.
 */
export function typedClient(version: Version, url: string): string {
  const { name, version: number, manifest } = version
  const hub = hubTaskOf(manifest.task)
  const write = hub ? () => hubWriter(hub) : writers[manifest.task]
  if (!write)
    throw fail('UNSUPPORTED', { what: `a client for ${manifest.task}`, instead: 'Use the SDK: athanor/client.' })
  return `// A client of the model "${name}", version ${number} (${manifest.task}). Written by athanor ${code}; do not edit.

/** Where the server is. */
export const server = { url: ${literal(url)}, key: undefined as string | undefined }

async function post<T>(action: string, body: unknown): Promise<T> {
  const response = await fetch(\`\${server.url}/api/models/${name}@${number}/\${action}\`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(server.key && { authorization: \`Bearer \${server.key}\` }) },
    body: JSON.stringify(body),
  })
  const answer = (await response.json()) as T & { error?: { code: string; message: string; hint: string } }
  if (answer.error) throw Object.assign(new Error(\`\${answer.error.message}. \${answer.error.hint}\`), answer.error)
  return answer
}
${write(version)}`
}
