import { fail } from '../../base/errors.ts'
import { ChatTemplate } from '../../data/chat.ts'
import { toGbnf } from '../../data/grammar/grammar.ts'
import {
  type EngineAnswer,
  type EngineRequest,
  type GenerationEvent,
  type GenerationRequest,
  monotonic,
} from '../messages.ts'
import type { OpenFileRunner, Runner } from '../runner.ts'
import { failure } from '../session.ts'
import { plainMessages, shapeOf, withCalls } from '../shape.ts'
import { type Loaded, loadLlama, type Model, type Prioritise } from './library.ts'
import { Seats } from './seats.ts'
import { Steps } from './steps.ts'
import { writing } from './writing.ts'

/** Texts that are written at the same time, each with its part of the cache: as many as fit into so many bytes, 8 in any case. */
const SEQUENCES = [32, 16, 8]
const CACHE_BYTES = 2 ** 30
/** Most tokens that a text may have, prompt included, where the model could read more: the cache is made for all of them. */
const CONTEXT = 4096
/** Most tokens that are read in one step. */
const BATCH = 512

/** Runs a GGUF file with llama.cpp: texts under way share its batches, and what was read of a beginning is not read again. */
export const llamaRunner: OpenFileRunner = async (manifest, path, { threads, library }) => {
  const loaded = await loadLlama(library ?? '', path)
  const context = Math.min(loaded.model.trainContextSize, CONTEXT)
  return manifest.task === 'feature-extraction'
    ? embedder(loaded.model, context, threads)
    : writer(loaded, context, threads)
}

async function writer(loaded: Loaded, contextSize: number, threads: number): Promise<Runner> {
  const { model } = loaded
  const source = model.fileInfo.metadata.tokenizer?.chat_template
  const { bosString, eosString } = model.tokens
  const template = source && new ChatTemplate(source, { bos_token: bosString ?? '', eos_token: eosString ?? '' })
  const sequences = await placesFor(model, contextSize)
  const context = await model.createContext({
    sequences,
    contextSize,
    batchSize: BATCH,
    threads,
    flashAttention: 'auto',
    batching: { itemPrioritizationStrategy: bySeat },
  })
  const seats = new Seats(Array.from({ length: sequences }, () => context.getSequence()))
  const steps = new Steps(BATCH)
  let batches = 0

  function promptOf(request: GenerationRequest): number[] {
    const { prompt = '', messages } = request
    if (messages && !template)
      throw fail('BAD_REQUEST', { message: 'this model was not trained on conversations: send a prompt' })
    const text = messages && template ? template.render(plainMessages(request), { answer: true }) : prompt
    const tokens = model.tokenize(text, true)
    const { bos, shouldPrependBosToken } = model.tokens
    if (bos !== null && (shouldPrependBosToken || tokens.length === 0) && tokens[0] !== bos) tokens.unshift(bos)
    if (tokens.length === 0) throw fail('BAD_REQUEST', { message: 'prompt: expected at least one token' })
    if (tokens.length >= context.contextSize)
      throw fail('PROMPT_TOO_LONG', { tokens: tokens.length, limit: context.contextSize })
    return tokens
  }

  async function* generate(
    request: GenerationRequest,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, undefined> {
    const { grammar, tools } = shapeOf(request)
    if (grammar && request.logprobs !== undefined)
      throw fail('UNSUPPORTED', {
        what: 'logprobs of JSON or calls by the engine llama',
        instead: 'Ask without logprobs.',
      })
    const tokens = promptOf(request)
    const limit = Math.min(request.maxTokens, context.contextSize - tokens.length)
    const seat = await seats.take(tokens, signal)
    if (!seat) {
      yield { type: 'end', text: '', finish: 'cancelled', usage: { promptTokens: tokens.length, completionTokens: 0 } }
      return undefined
    }
    try {
      const state = grammar && loaded.grammarState(toGbnf(grammar))
      batches++
      yield* withCalls(writing({ model, seat, steps, tokens, limit, request, signal, ...(state && { state }) }), tools)
    } finally {
      seats.give(seat)
    }
    return undefined
  }

  return {
    get batches() {
      return batches
    },
    async *run(requests) {
      for (const { id } of requests)
        yield failure(id, fail('BAD_REQUEST', { message: 'this model writes texts: use its generate route' }))
    },
    generate,
  }
}

/**
 * A batch in the order of the seats: llama.cpp splits it wherever a text does not follow the one of the seat before. A seat's
 * number travels as its priority.
 */
const bySeat: Prioritise = ({ items }) =>
  items
    .toSorted((a, b) => a.evaluationPriority - b.evaluationPriority)
    .map((item) => ({ item, processAmount: item.tokens.length }))

async function placesFor({ fileInsights }: Model, contextSize: number): Promise<number> {
  const fewest = SEQUENCES.at(-1)!
  for (const sequences of SEQUENCES) {
    const sizes = { contextSize, sequences, modelGpuLayers: 0 }
    const { cpuRam } = await fileInsights.estimateContextResourceRequirementsV2(sizes)
    if (cpuRam <= CACHE_BYTES) return sequences
  }
  return fewest
}

async function embedder(model: Model, contextSize: number, threads: number): Promise<Runner> {
  const context = await model.createEmbeddingContext({ contextSize, threads })
  let batches = 0

  async function answer(request: EngineRequest): Promise<EngineAnswer> {
    if (request.kind !== 'texts') throw fail('BAD_REQUEST', { message: 'this model takes texts to embed' })
    const started = monotonic()
    const tokenised = request.texts.map((text) => model.tokenize(text, false))
    const ready = monotonic()
    const rows: Float32Array[] = []
    for (const tokens of tokenised) {
      if (tokens.length >= contextSize) throw fail('PROMPT_TOO_LONG', { tokens: tokens.length, limit: contextSize })
      rows.push(Float32Array.from((await context.getEmbeddingFor(tokens)).vector))
      batches++
    }
    const width = rows[0].length
    const vectors = new Float32Array(rows.length * width)
    for (const [row, vector] of rows.entries()) {
      const length = Math.hypot(...vector) || 1
      for (let i = 0; i < width; i++) vectors[row * width + i] = vector[i] / length
    }
    const tokens = tokenised.reduce((sum, one) => sum + one.length, 0)
    const timings = { queue: started - request.at, pre: ready - started, run: monotonic() - ready, post: 0, batch: 1 }
    return { id: request.id, output: { kind: 'vectors', vectors, width, tokens }, timings }
  }

  return {
    get batches() {
      return batches
    },
    async *run(requests) {
      for (const request of requests) yield await answer(request).catch((error) => failure(request.id, error))
    },
  }
}
