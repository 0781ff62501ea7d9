import { fail } from '../../base/errors.ts'
import { ChatTemplate } from '../../data/chat.ts'
import { toGbnf } from '../../data/grammar/grammar.ts'
import type { GenerationEvent, GenerationRequest } from '../messages.ts'
import type { OpenFileRunner, Runner } from '../runner.ts'
import { failure } from '../session.ts'
import { plainMessages, shapeOf, withCalls } from '../shape.ts'
import { threadsFor } from '../threads.ts'
import { checkIds } from '../token-ids.ts'
import { embedder } from './embedder.ts'
import { type Loaded, loadLlama, type Model, vocabularySize } from './library.ts'
import { Seats } from './seats.ts'
import { Steps } from './steps.ts'
import { Writing } from './writing.ts'

/** Texts that are written at the same time, each with its part of the cache: as many as fit into so many bytes, 8 in any case. */
const SEQUENCES = [32, 16, 8]
const CACHE_BYTES = 2 ** 30
/** Most tokens that a text may have, prompt included, where the model could read more: the cache is made for all of them. */
const CONTEXT = 4096
/** Most tokens that are read in one step. */
const BATCH = 512

/** Runs a GGUF file with llama.cpp: texts under way share its batches, and what was read of a beginning is not read again. */
export const llamaRunner: OpenFileRunner = async (
  manifest,
  path,
  { threads = threadsFor(manifest.parameters), library, onStep },
) => {
  const loaded = await loadLlama(library ?? '', path)
  const context = Math.min(loaded.model.trainContextSize, CONTEXT)
  return manifest.task === 'feature-extraction'
    ? embedder(loaded.model, context, threads, CACHE_BYTES)
    : writer(loaded, context, threads, onStep)
}

async function writer(
  loaded: Loaded,
  contextSize: number,
  threads: number,
  onStep: () => void = () => {},
): Promise<Runner> {
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
  })
  const steps = new Steps(context._ctx, new Seats(sequences), {
    size: BATCH,
    window: model.fileInsights.swaSize ?? 0,
    inTurn: process.env.UV_THREADPOOL_SIZE === '1',
    stepped: onStep,
  })

  function promptOf(request: GenerationRequest): number[] {
    const { prompt = '', messages } = request
    if (messages && !template)
      throw fail('BAD_REQUEST', { message: 'this model was not trained on conversations: send a prompt' })
    const text = messages && template ? template.render(plainMessages(request), { answer: true }) : prompt
    if (typeof text !== 'string') checkIds(text, vocabularySize(model))
    const tokens = typeof text === 'string' ? model.tokenize(text, true) : text
    const { bos, shouldPrependBosToken } = model.tokens
    if (bos !== null && typeof text === 'string' && (shouldPrependBosToken || tokens.length === 0) && tokens[0] !== bos)
      tokens.unshift(bos)
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
    const prompt = promptOf(request)
    const limit = Math.min(request.maxTokens, context.contextSize - prompt.length)
    const state = grammar && loaded.grammarState(toGbnf(grammar))
    const writing = new Writing(loaded, { prompt, limit, request, signal, ...(state && { state }) })
    steps.add(writing)
    yield* withCalls(writing.events, tools)
    return undefined
  }

  return {
    get batches() {
      return steps.count
    },
    async *run(requests) {
      for (const { id } of requests)
        yield failure(id, fail('BAD_REQUEST', { message: 'this model writes texts: use its generate route' }))
    },
    generate,
  }
}

async function placesFor({ fileInsights }: Model, contextSize: number): Promise<number> {
  const fewest = SEQUENCES.at(-1)!
  for (const sequences of SEQUENCES) {
    const sizes = { contextSize, sequences, modelGpuLayers: 0 }
    const { cpuRam } = await fileInsights.estimateContextResourceRequirementsV2(sizes)
    if (cpuRam <= CACHE_BYTES) return sequences
  }
  return fewest
}
