import type { FastifyReply, FastifyRequest } from 'fastify'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { GenerationEvent } from '../engine/messages.ts'
import type { Version } from '../registry/registry.ts'
import { askRef, type CallOptions, type Prediction, type Resolved, type TextCallOptions } from '../serve/deployments.ts'
import type { GenerationInput } from '../serve/generation.ts'
import { type Ranked, rank } from '../serve/rank.ts'
import { isCallerError } from '../watch/log.ts'
import type { Written } from '../watch/metrics/served.ts'
import { counted } from './counted.ts'
import { callOf, type House } from './route.ts'

/** Who asks, through which door, and how the call is to be answered; the signal fires when the client goes away. */
export interface Caller extends CallOptions {
  house: House
  door: string
  requestId: string
  signal: AbortSignal
}

export const callerOf = (
  door: string,
  house: House,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): Caller => ({ house, door, requestId: request.id, ...callOf(request, reply) })

/**
 * The version that a protocol's name for a model means. A name that no model of ours could have is an unknown model here,
 * not a bad name: clients send names such as `meta-llama/Llama-3`. Throws MODEL_NOT_FOUND or VERSION_NOT_FOUND.
 */
export async function findModel({ deployments, registry }: House, ref: string): Promise<Resolved> {
  try {
    return await deployments.resolve(ref)
  } catch (error) {
    if (!(error instanceof AthanorError) || error.code !== 'NAME_INVALID') throw error
    const names = (await registry.list()).map(({ name }) => name)
    const suggestion = suggest(ref.replace(/^.*\//, '').toLowerCase(), names)
    throw fail('MODEL_NOT_FOUND', { name: ref.slice(0, 80) }, { ...(suggestion && { suggestion }) })
  }
}

export interface Classified {
  prediction: Prediction
  /** For each text its labels, best first. */
  ranked: Ranked[][]
}

/** Labels of texts by a classifier; throws what `findModel` and `Deployments.predict` throw. */
export async function classify(
  { house, door, requestId, ...call }: Caller & TextCallOptions,
  ref: string,
  texts: readonly string[],
  topK?: number,
): Promise<Classified> {
  const asked = askRef(await findModel(house, ref))
  const prediction = await counted(house, door, asked, requestId, () => house.deployments.predict(asked, texts, call))
  const { manifest, output } = prediction
  if (output.kind !== 'texts') throw new TypeError(`a classifier answered ${output.kind}`)
  return { prediction, ranked: texts.map((_, row) => rank(manifest, output.probabilities, row, topK)) }
}

/** Labels of image files by a classifier; throws what `findModel` and `Deployments.classifyImages` throw. */
export async function classifyFiles(
  { house, door, requestId, ...call }: Caller,
  ref: string,
  images: readonly Uint8Array[],
  topK?: number,
): Promise<Classified> {
  const asked = askRef(await findModel(house, ref))
  const run = () => house.deployments.classifyImages(asked, images, call)
  const prediction = await counted(house, door, asked, requestId, run)
  const { manifest, output } = prediction
  if (output.kind !== 'images') throw new TypeError(`a classifier of images answered ${output.kind}`)
  return { prediction, ranked: images.map((_, row) => rank(manifest, output.probabilities, row, topK)) }
}

/** Events of a generation; `return` ends the writing, whether or not reading has begun. */
export interface Events {
  next(): Promise<IteratorResult<GenerationEvent, undefined>>
  return(): Promise<IteratorResult<GenerationEvent, undefined>>
  [Symbol.asyncIterator](): Events
}

/**
 * Starts a generation and waits for its first event, so that what is wrong with the request is told before an answer
 * begins. Throws what `findModel` and `Deployments.generate` throw; later errors come from the events.
 */
export async function beginGeneration(
  caller: Caller,
  ref: string,
  input: GenerationInput,
): Promise<{ version: Version; events: Events }> {
  const { house, door: _door, requestId: _id, ...call } = caller
  const choice = await house.deployments.choose(askRef(await findModel(house, ref)), call.key)
  const { version } = choice
  const events = watched(caller, version, input, house.deployments.generate(choice, input, call))
  const first = await events.next()
  return { version, events: chain(first, events) }
}

function chain(
  first: IteratorResult<GenerationEvent, undefined>,
  rest: AsyncGenerator<GenerationEvent, undefined>,
): Events {
  let held: typeof first | undefined = first
  return {
    async next() {
      const result = held ?? (await rest.next())
      held = undefined
      return result
    },
    return: () => rest.return(undefined),
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Passes events on; tells of the answer or failure of a generation under a door's name. */
async function* watched(
  { house, door, requestId }: Caller,
  { name, version, manifest: { task } }: Version,
  { prompt, messages }: GenerationInput,
  events: AsyncIterable<GenerationEvent>,
): AsyncGenerator<GenerationEvent, undefined> {
  const started = performance.now()
  const live = house.metrics.asked(name, version)
  const about = { requestId, door, model: name, version, task, rows: 1 }
  const gaps: number[] = []
  let text = ''
  let first: number | undefined
  let last = started
  let over = false
  const input = () => (typeof prompt === 'string' ? prompt : JSON.stringify(prompt ?? messages))
  const content = () => ({ input: input(), output: text })
  const ended = (finish: Written['finish'], usage: Written['usage']) => {
    over = true
    const ms = performance.now() - started
    house.observe({ ...about, ms, at: Date.now(), written: { finish, usage, first: first ?? ms, gaps }, content })
  }
  try {
    for await (const event of events) {
      const now = performance.now()
      text += event.text
      if (event.type === 'end') ended(event.finish, event.usage)
      else if (first === undefined) {
        first = now - started
        live.begun()
      } else gaps.push(now - last)
      last = now
      yield event
    }
  } catch (thrown) {
    over = true
    const error = asAthanorError(thrown)
    const ms = performance.now() - started
    house.observe({ ...about, rows: 0, ms, at: Date.now(), code: error.code })
    if (!isCallerError(error)) house.log.error('generation.failed', error, { requestId, ms, model: name, version })
    throw error
  } finally {
    // the reader went away: what was written until then was written
    if (!over) ended('cancelled', { promptTokens: 0, completionTokens: first === undefined ? 0 : gaps.length + 1 })
    live.ended()
  }
}
