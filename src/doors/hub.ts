import { type FieldKind, type HubTask, hubTaskOf } from '../bundle/hub.ts'

type Schema = Record<string, unknown>

const kinds: Record<FieldKind, Schema> = {
  text: { type: 'string' },
  texts: { type: 'array', items: { type: 'string' }, minItems: 1 },
  number: { type: 'number' },
  integer: { type: 'integer', minimum: 1 },
  boolean: { type: 'boolean' },
  image: { type: 'string', description: 'the image file in base64' },
  audio: { type: 'string', description: 'a WAV file in base64' },
}
/** A grey image of 8 × 8 pixels, as a PNG file in base64. */
export const IMAGE =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAMAAADz0U65AAAAA1BMVEWAgICQdD0xAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAADElEQVQI12NgoA4AAABIAAH/myMhAAAAAElFTkSuQmCC'
/** A millisecond of silence, as a WAV file in base64. */
const SILENCE =
  'UklGRkQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YSAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=='

const examples: Record<FieldKind, unknown> = {
  text: 'what a lovely film',
  texts: ['good', 'bad'],
  number: 0.5,
  integer: 1,
  boolean: true,
  image: IMAGE,
  audio: SILENCE,
}

/** JSON Schemas of fields, by name. */
export const schemasOf = (fields: HubTask['inputs']): Schema =>
  Object.fromEntries(Object.entries(fields).map(([name, kind]) => [name, kinds[kind]]))

/** What the run route of a task takes, and an example of it; undefined for tasks that are not of the hub. */
export function hubBody(task: string): { schema: Schema; example: Record<string, unknown> } | undefined {
  const hub = hubTaskOf(task)
  if (!hub) return undefined
  const { inputs, parameters, required = [] } = hub
  const some = (fields: HubTask['inputs'], names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, examples[fields[name]]]))
  return {
    schema: {
      type: 'object',
      properties: {
        inputs: { type: 'object', properties: schemasOf(inputs), required: Object.keys(inputs) },
        parameters: { type: 'object', properties: schemasOf(parameters), required },
      },
      required: required.length > 0 ? ['inputs', 'parameters'] : ['inputs'],
    },
    example: {
      inputs: some(inputs, Object.keys(inputs)),
      ...(required.length > 0 && { parameters: some(parameters, required) }),
    },
  }
}
