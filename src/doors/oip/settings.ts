import { fail } from '../../base/errors.ts'
import type { GenerationInput } from '../../serve/generation.ts'

/** Names of generation settings among a request's parameters, as servers of this protocol have them. */
const names: Record<string, keyof GenerationInput> = {
  max_tokens: 'maxTokens',
  max_new_tokens: 'maxTokens',
  temperature: 'temperature',
  top_p: 'topP',
  top_k: 'topK',
  seed: 'seed',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
  repetition_penalty: 'repetitionPenalty',
}

/** The settings among some parameters; others are left alone. Throws BAD_REQUEST for a setting of the wrong type. */
export function settingsFrom(parameters: Record<string, unknown> = {}): GenerationInput {
  const settings: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue
    if (Object.hasOwn(names, name)) {
      if (typeof value !== 'number') throw fail('BAD_REQUEST', { message: `parameters.${name}: expected a number` })
      settings[names[name]] = value
    } else if (name === 'stop' || name === 'stop_words') {
      const stop = Array.isArray(value) ? value : [value]
      if (stop.some((text) => typeof text !== 'string'))
        throw fail('BAD_REQUEST', { message: `parameters.${name}: expected a string or a list of strings` })
      settings.stop = stop
    }
  }
  return settings
}
