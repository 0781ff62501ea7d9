import { fail } from '../base/errors.ts'
import { type FieldKind, type HubInput, hubTaskOf } from '../bundle/hub.ts'

/** Most labels to choose from, and beams to search with: each is a run of the model. */
const [LABELS, BEAMS] = [100, 16]

const expected: Record<FieldKind, string> = {
  text: 'a string',
  texts: 'a list of strings',
  number: 'a number',
  integer: 'a whole number from 1 to 10000',
  boolean: 'true or false',
  image: 'an image in base64',
  audio: 'a WAV file in base64',
}

/**
 * Inputs of a task by name, files decoded, and its parameters; one input may be given bare, a file as its bytes. Throws
 * BAD_REQUEST naming what is missing, unknown or of another kind, and TEXT_TOO_LONG.
 */
export function checkHubInput(task: string, inputs: unknown, parameters: unknown, textLimit: number): HubInput {
  const known = hubTaskOf(task)
  if (!known) throw fail('BAD_REQUEST', { message: `${task} has a route of its own` })
  const fields = Object.entries(known.inputs)
  const bare = typeof inputs === 'string' || inputs instanceof Uint8Array
  const named = (fields.length === 1 && bare ? { [fields[0][0]]: inputs } : inputs) as unknown
  const given = recordOf(named, `inputs: expected ${fields.map(([name]) => name).join(' and ')}`)
  for (const name of Object.keys(given))
    if (!Object.hasOwn(known.inputs, name)) throw bad(`inputs.${name.slice(0, 40)}: ${task} has no such input`)
  const settings = recordOf(parameters ?? {}, 'parameters: expected an object')
  for (const name of known.required ?? [])
    if (settings[name] === undefined) throw bad(`parameters.${name}: expected ${expected[known.parameters[name]]}`)
  const checked = Object.entries(settings).flatMap(([name, value]) => {
    if (value === undefined || value === null) return []
    if (!Object.hasOwn(known.parameters, name))
      throw bad(`parameters.${name.slice(0, 40)}: ${task} has no such parameter`)
    return [[name, checkField(value, known.parameters[name], `parameters.${name}`, textLimit)] as const]
  })
  const { num_beams: beams = 1 } = settings
  if ((beams as number) > BEAMS) throw bad(`parameters.num_beams: expected at most ${BEAMS}`)
  return {
    inputs: Object.fromEntries(
      fields.map(([name, kind]) => [name, checkField(given[name], kind, `inputs.${name}`, textLimit) as string]),
    ),
    parameters: Object.fromEntries(checked),
  }
}

const bad = (message: string) => fail('BAD_REQUEST', { message })

function recordOf(value: unknown, message: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(message)
  return value as Record<string, unknown>
}

function checkField(value: unknown, kind: FieldKind, where: string, textLimit: number): unknown {
  const wrong = () => bad(`${where}: expected ${expected[kind]}`)
  const text = (one: unknown): string => {
    if (typeof one !== 'string') throw wrong()
    if (one.length > textLimit) throw fail('TEXT_TOO_LONG', { length: one.length, limit: textLimit })
    return one
  }
  switch (kind) {
    case 'text':
      return text(value)
    case 'texts': {
      const list = typeof value === 'string' ? value.split(',').map((one) => one.trim()) : value
      if (!Array.isArray(list) || list.length === 0 || list.length > LABELS) throw wrong()
      return list.map(text)
    }
    case 'number':
      if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong()
      return value
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > 10_000) throw wrong()
      return value
    case 'boolean':
      if (typeof value !== 'boolean') throw wrong()
      return value
    default:
      if (value instanceof Uint8Array) return value
      if (typeof value !== 'string') throw wrong()
      return fileOf(value, where, kind)
  }
}

/** The file of a base64 text, as it is or as a `data:` URL. No other URL is ever followed: throws BAD_REQUEST. */
export function fileOf(text: string, where: string, what: 'image' | 'audio'): Uint8Array {
  const refuse = (message: string) => bad(`${where}: ${message}`)
  if (/^\w+:\/\//.test(text)) throw refuse(`files are not fetched; send the ${what} itself in base64`)
  const base64 = /^data:[^,]{0,100};base64,/.exec(text)
  if (!base64 && text.startsWith('data:')) throw refuse('a data URL must be in base64')
  const body = text.slice(base64?.[0].length ?? 0)
  // strict: the decoder of the runtime passes over what it does not know
  if (body === '' || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(body)) throw refuse(`expected ${expected[what]}`)
  return Buffer.from(body, 'base64')
}
