import { fail } from '../base/errors.ts'
import type { ChatMessage, GenerationRequest } from '../engine/messages.ts'

/** A generation as callers give it: all but the prompt may be left out. */
export type GenerationInput = Partial<GenerationRequest>

/** Every numeric setting of a generation: what it is when left out, and its range. */
const generationSettings = {
  maxTokens: { default: 256, minimum: 1, maximum: 1_000_000, whole: true },
  temperature: { default: 1, minimum: 0, maximum: 100, whole: false },
  topP: { default: 1, minimum: 0, maximum: 1, whole: false },
  topK: { default: 0, minimum: 0, maximum: 1_000_000, whole: true },
  repetitionPenalty: { default: 1, minimum: 0.01, maximum: 10, whole: false },
  presencePenalty: { default: 0, minimum: -2, maximum: 2, whole: false },
  frequencyPenalty: { default: 0, minimum: -2, maximum: 2, whole: false },
  seed: { default: undefined, minimum: 0, maximum: 2 ** 32 - 1, whole: true },
  logprobs: { default: undefined, minimum: 0, maximum: 20, whole: true },
} as const

const STOPS = 16
const STOP_LENGTH = 256
const MESSAGES = 1000
/** Longest JSON of schemas and tools. */
const SCHEMA_LENGTH = 65_536

/** The input with its defaults; throws BAD_REQUEST naming what is out of range, or TEXT_TOO_LONG. */
export function checkGeneration(input: GenerationInput, textLimit: number): GenerationRequest {
  const settings: Record<string, number> = {}
  for (const [name, rule] of Object.entries(generationSettings)) {
    const value = input[name as keyof typeof generationSettings] ?? rule.default
    if (value === undefined) continue
    const { minimum, maximum, whole } = rule
    const fits =
      typeof value === 'number' && value >= minimum && value <= maximum && (!whole || Number.isSafeInteger(value))
    if (!fits) {
      const kind = whole ? 'a whole number' : 'a number'
      throw fail('BAD_REQUEST', { message: `${name}: expected ${kind} from ${minimum} to ${maximum}` })
    }
    settings[name] = value
  }
  const { prompt, messages, stop = [], json, tools, toolChoice = 'auto', whole } = input
  if ((prompt === undefined) === (messages === undefined))
    throw fail('BAD_REQUEST', { message: 'expected either prompt or messages' })
  if (messages && (messages.length === 0 || messages.length > MESSAGES))
    throw fail('BAD_REQUEST', { message: `messages: expected 1 to ${MESSAGES}` })
  if (typeof prompt === 'object' && !(prompt.length > 0 && prompt.every((id) => Number.isInteger(id) && id >= 0)))
    throw fail('BAD_REQUEST', { message: 'prompt: expected a text, or token ids from 0', param: 'prompt' })
  const length = prompt?.length ?? lengthOf(messages!)
  if (length > textLimit) throw fail('TEXT_TOO_LONG', { length, limit: textLimit })
  if (stop.length > STOPS || stop.some((text) => text.length === 0 || text.length > STOP_LENGTH))
    throw fail('BAD_REQUEST', { message: `stop: expected at most ${STOPS} texts of 1 to ${STOP_LENGTH} characters` })
  for (const { name } of tools ?? [])
    if (!/^[\w-]{1,64}$/.test(name))
      throw fail('BAD_REQUEST', { message: `tools: "${name.slice(0, 64)}" is no name of a function`, param: 'tools' })
  const described = JSON.stringify([json, tools]).length
  if (described > SCHEMA_LENGTH)
    throw fail('BAD_REQUEST', { message: `schemas and tools: ${described} characters, at most ${SCHEMA_LENGTH}` })
  return {
    ...(settings as Pick<GenerationRequest, 'maxTokens' | 'temperature' | 'topP' | 'topK'> &
      Pick<GenerationRequest, 'repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty'>),
    ...(prompt !== undefined && { prompt }),
    ...(messages && { messages: [...messages] }),
    ...(json !== undefined && { json }),
    ...(tools && { tools: [...tools], toolChoice }),
    ...(whole && { whole }),
    stop: [...stop],
  }
}

const lengthOf = (messages: readonly ChatMessage[]) =>
  messages.reduce(
    (sum, { role, content, calls = [] }) =>
      sum +
      role.length +
      content.length +
      calls.reduce((all, call) => all + call.name.length + call.arguments.length, 0),
    0,
  )
