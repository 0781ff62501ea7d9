import { fail } from '../base/errors.ts'
import type { GenerationRequest } from '../engine/messages.ts'

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
  const { prompt, messages, stop = [] } = input
  if ((prompt === undefined) === (messages === undefined))
    throw fail('BAD_REQUEST', { message: 'expected either prompt or messages' })
  if (messages && (messages.length === 0 || messages.length > MESSAGES))
    throw fail('BAD_REQUEST', { message: `messages: expected 1 to ${MESSAGES}` })
  const length = prompt?.length ?? messages!.reduce((sum, { role, content }) => sum + role.length + content.length, 0)
  if (length > textLimit) throw fail('TEXT_TOO_LONG', { length, limit: textLimit })
  if (stop.length > STOPS || stop.some((text) => text.length === 0 || text.length > STOP_LENGTH))
    throw fail('BAD_REQUEST', { message: `stop: expected at most ${STOPS} texts of 1 to ${STOP_LENGTH} characters` })
  return {
    ...(settings as Pick<GenerationRequest, 'maxTokens' | 'temperature' | 'topP' | 'topK'> &
      Pick<GenerationRequest, 'repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty'>),
    ...(prompt !== undefined && { prompt }),
    ...(messages && { messages: messages.map(({ role, content }) => ({ role, content })) }),
    stop: [...stop],
  }
}
