import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { fail } from '../../base/errors.ts'

/** What is used of node-llama-cpp 3, which is not part of the installation. */
interface Library {
  getLlama(options: object): Promise<Llama>
  LlamaGrammar: new (llama: Llama, options: { grammar: string }) => object
  LlamaGrammarEvaluationState: new (options: { model: Model; grammar: object }) => { _state: GrammarState }
}

interface Llama {
  loadModel(options: { modelPath: string; checkTensors: boolean }): Promise<Model>
  /** Internal, see `NativeContext`. */
  readonly _bindings: { AddonSampler: new (model: object) => NativeSampler }
}
export interface Model {
  /** Internal, see `NativeContext`. */
  readonly _model: object
  readonly trainContextSize: number
  readonly tokens: {
    bos: number | null
    bosString: string | null
    eosString: string | null
    shouldPrependBosToken: boolean
  }
  readonly fileInsights: {
    /** Tokens of a sliding window, where there is one. */
    readonly swaSize?: number
    estimateContextResourceRequirementsV2(options: {
      contextSize: number
      sequences: number
      modelGpuLayers: number
      isEmbeddingContext?: boolean
    }): Promise<{ cpuRam: number }>
  }
  readonly fileInfo: {
    metadata: { tokenizer?: { chat_template?: string; ggml?: { tokens?: readonly string[] } } }
  }
  tokenize(text: string, special: boolean): number[]
  detokenize(tokens: readonly number[], special: boolean, before?: readonly number[]): string
  isEogToken(token: number): boolean
  createContext(options: {
    sequences: number
    contextSize: number
    batchSize: number
    threads: number
    flashAttention: 'auto'
  }): Promise<Context>
  createEmbeddingContext(options: { contextSize: number; threads: number }): Promise<EmbeddingContext>
}

/** Tokens that a model knows; 0 where its file does not list them. */
export const vocabularySize = ({ fileInfo }: Model) => fileInfo.metadata.tokenizer?.ggml?.tokens?.length ?? 0

interface Context {
  readonly contextSize: number
  readonly _ctx: NativeContext
}
export interface EmbeddingContext {
  getEmbeddingFor(tokens: readonly number[]): Promise<{ vector: readonly number[] }>
}

/**
 * llama.cpp's context as the library's own classes use it. It is no part of what the library promises, so its version is fixed
 * (on-demand.ts): the classes run a part of the texts as soon as it is there, and take a millisecond of JavaScript a token.
 */
export interface NativeContext {
  /** Begins a batch with room for so many tokens. */
  initBatch(tokens: number): void
  /** Adds tokens of a sequence from a position on; gives where the logits of those at the places `wanted` will be. */
  addToBatch(sequence: number, position: number, tokens: Uint32Array, wanted: Uint32Array): Uint32Array
  decodeBatch(): Promise<void>
  /** Draws a token, -1 where none can be. */
  sampleToken(logits: number, sampler: NativeSampler): Promise<number>
  /** The token drawn, nothing twice, tokens and their logits in turn, and the sum of e^(logit - the largest logit) of all. */
  sampleToken(
    logits: number,
    sampler: NativeSampler,
    probabilities: false,
    confidence: false,
    told: readonly [tokens: readonly number[], highest: false, lowest: false, selected: true, top: number],
    total: true,
  ): Promise<readonly [number, undefined, undefined, readonly number[], number]>
  /** Forgets tokens of a sequence from one position to another (-1: the end); false where this memory cannot do so. */
  removeTokenCellsFromSequence(sequence: number, from: number, to: number): boolean
  /** The first position that is still in memory. */
  getSequenceKvCacheMinPosition(sequence: number): number
  /** Forgets all of a sequence. */
  disposeSequence(sequence: number): void
}
export interface NativeSampler {
  applyConfig(draw: Draw): void
  dispose(): void
}
/** Where a text is in its grammar. */
export type GrammarState = object

/** How tokens are drawn; those drawn are added to the ones that are penalised. */
export interface Draw {
  readonly temperature: number
  readonly topK?: number
  readonly topP?: number
  readonly seed?: number
  readonly repeatPenalty?: number
  readonly repeatPenaltyTokens?: Uint32Array
  readonly repeatPenaltyMaxTokens?: number
  readonly repeatPenaltyPresencePenalty?: number
  readonly repeatPenaltyFrequencyPenalty?: number
  readonly grammarEvaluationState?: GrammarState
}

export interface Loaded {
  readonly model: Model
  /** What may be written, for one text. */
  grammarState(gbnf: string): GrammarState
  sampler(draw: Draw): NativeSampler
}

interface Opened {
  readonly library: Library
  readonly llama: Llama
}
let opened: Promise<Opened> | undefined

/** Reads the library from its folder, once in a process. Throws ENGINE_MISSING. */
export function openLibrary(folder: string): Promise<Opened> {
  opened ??= open(folder)
  return opened
}

async function open(folder: string): Promise<Opened> {
  try {
    const entry = createRequire(join(folder, 'package.json')).resolve('node-llama-cpp')
    const library = (await import(pathToFileURL(entry).href)) as Library
    // never built here: what npm brought is used, or nothing
    const llama = await library.getLlama({ gpu: false, build: 'never', skipDownload: true, logLevel: 'disabled' })
    return { library, llama }
  } catch (error) {
    throw fail(
      'ENGINE_MISSING',
      { engine: 'llama', instead: 'Install it again: athanor engines install llama' },
      { cause: error },
    )
  }
}

/** Loads a model, with the library from its folder. Throws ENGINE_MISSING or MODEL_INVALID. */
export async function loadLlama(folder: string, modelPath: string): Promise<Loaded> {
  const { library, llama } = await openLibrary(folder)
  try {
    const model = await llama.loadModel({ modelPath, checkTensors: true })
    return {
      model,
      grammarState(gbnf) {
        const grammar = new library.LlamaGrammar(llama, { grammar: gbnf })
        return new library.LlamaGrammarEvaluationState({ model, grammar })._state
      },
      sampler(draw) {
        const sampler = new llama._bindings.AddonSampler(model._model)
        sampler.applyConfig(draw)
        return sampler
      },
    }
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'llama.cpp cannot load it' }, { cause: error })
  }
}
