import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import type { GenerationEvent, TokenChance } from '../../engine/messages.ts'
import type { Version } from '../../registry/registry.ts'
import type { GenerationInput } from '../../serve/generation.ts'
import { beginGeneration, type Caller, type Events } from '../ask.ts'
import { interleave } from '../interleave.ts'
import { anything, integer, listOf, number } from './schema.ts'

/** Most texts that one request may have written at once. */
const CHOICES = 16
/** A text may get as long as the model can read, unless the request says less. */
const NO_LIMIT = 1_000_000

/** The fields that chat and plain completions share, each with its range. */
export const sampling = {
  model: Type.String(),
  temperature: number({ minimum: 0, maximum: 2 }),
  top_p: number({ minimum: 0, maximum: 1 }),
  n: integer({ minimum: 1, maximum: CHOICES }),
  stop: Type.Optional(
    Type.Unsafe<string | string[] | null>({
      type: ['string', 'array', 'null'],
      items: { type: 'string' },
      maxItems: 16,
    }),
  ),
  max_tokens: integer({ minimum: 1, maximum: NO_LIMIT }),
  presence_penalty: number({ minimum: -2, maximum: 2 }),
  frequency_penalty: number({ minimum: -2, maximum: 2 }),
  seed: integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
  logit_bias: anything(),
  stream: Type.Optional(Type.Unsafe<boolean | null>({ type: ['boolean', 'null'] })),
  stream_options: Type.Optional(
    Type.Unsafe<{ include_usage?: boolean } | null>({
      type: ['object', 'null'],
      properties: { include_usage: { type: 'boolean' } },
    }),
  ),
  // vLLM's, beyond OpenAI
  top_k: integer({ minimum: 0, maximum: NO_LIMIT }),
  repetition_penalty: number({ minimum: 0.01, maximum: 10 }),
}

interface Sampling {
  temperature?: number | null
  top_p?: number | null
  top_k?: number | null
  stop?: string | string[] | null
  seed?: number | null
  presence_penalty?: number | null
  frequency_penalty?: number | null
  repetition_penalty?: number | null
  logit_bias?: Record<string, unknown> | null
}

/** A field that cannot be honoured is refused, not passed over. */
export const refuse = (param: string, what: string) =>
  fail('BAD_REQUEST', { message: `${param}: ${what} is not supported by this model's engine`, param })

/** The settings of a generation in our words. */
export function settingsOf(body: Sampling, maxTokens: number | null | undefined, logprobs?: number): GenerationInput {
  if (body.logit_bias && Object.keys(body.logit_bias).length > 0) throw refuse('logit_bias', 'a bias of tokens')
  const given: [keyof GenerationInput, number | null | undefined][] = [
    ['temperature', body.temperature],
    ['topP', body.top_p],
    ['topK', body.top_k],
    ['seed', body.seed],
    ['presencePenalty', body.presence_penalty],
    ['frequencyPenalty', body.frequency_penalty],
    ['repetitionPenalty', body.repetition_penalty],
    ['logprobs', logprobs],
  ]
  return {
    ...Object.fromEntries(given.filter(([, value]) => typeof value === 'number')),
    maxTokens: maxTokens ?? NO_LIMIT,
    stop: listOf(body.stop).filter((text) => text !== ''),
  }
}

export type TokenEvent = Extract<GenerationEvent, { type: 'token' }>
export type EndEvent = Extract<GenerationEvent, { type: 'end' }>

/** Starts a generation for each input `n` times; all have begun, or none goes on. */
export async function beginAll(caller: Caller, ref: string, inputs: readonly GenerationInput[], n: number) {
  const all = inputs.flatMap((input) =>
    // texts of one request differ, and are the same again for the same seed
    Array.from({ length: n }, (_, i) =>
      input.seed === undefined ? input : { ...input, seed: (input.seed + i) % 2 ** 32 },
    ),
  )
  if (all.length > CHOICES * 4)
    throw fail('BAD_REQUEST', { message: `n: ${all.length} texts at once, at most ${CHOICES * 4}`, param: 'n' })
  const begun = await Promise.allSettled(all.map((input) => beginGeneration(caller, ref, input)))
  const events: Events[] = []
  let version: Version | undefined
  let failed: PromiseRejectedResult | undefined
  for (const result of begun) {
    if (result.status === 'rejected') failed ??= result
    else {
      events.push(result.value.events)
      version = result.value.version
    }
  }
  if (failed) {
    for (const one of events) void one.return()
    throw failed.reason
  }
  return { version: version!, events: interleave(events), count: all.length }
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
}

/** Sums up usage: each prompt counts once, however many texts are written for it. */
export class UsageSum {
  readonly #n: number
  readonly #prompts = new Map<number, number>()
  #written = 0

  constructor(n: number) {
    this.#n = n
  }

  add(index: number, { usage }: EndEvent) {
    this.#prompts.set(Math.floor(index / this.#n), usage.promptTokens)
    this.#written += usage.completionTokens
  }

  get value(): Usage {
    const prompts = [...this.#prompts.values()].reduce((a, b) => a + b, 0)
    return { prompt_tokens: prompts, completion_tokens: this.#written, total_tokens: prompts + this.#written }
  }
}

/** Why a text ended, in OpenAI's words. */
export const finishOf = ({ finish }: EndEvent) =>
  ({ length: 'length', calls: 'tool_calls', stop: 'stop', cancelled: 'stop' })[finish]

const chance = ({ text, bytes, logprob }: Pick<TokenChance, 'text' | 'bytes' | 'logprob'>) => ({
  token: bytes.length > 0 ? Buffer.from(bytes).toString('utf8') : text,
  logprob,
  bytes,
})

/** A token's log-probability in the form that chat completions and responses have. */
export function logprobOf({ text, bytes = [], logprob = 0, top = [] }: TokenEvent) {
  return { ...chance({ text, bytes, logprob }), top_logprobs: top.map(chance) }
}

export const now = () => Math.floor(Date.now() / 1000)
