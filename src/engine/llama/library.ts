import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { fail } from '../../base/errors.ts'

/** What is used of node-llama-cpp 3, which is not part of the installation. */
interface Library {
  getLlama(options: object): Promise<Llama>
  LlamaGrammar: new (llama: Llama, options: { grammar: string }) => Grammar
  LlamaGrammarEvaluationState: new (options: { model: Model; grammar: Grammar }) => GrammarState
}
type Grammar = { readonly grammar: string }
export type GrammarState = { clone(): GrammarState }

interface Llama {
  loadModel(options: { modelPath: string; checkTensors: boolean }): Promise<Model>
}
export interface Model {
  readonly trainContextSize: number
  readonly tokens: {
    bos: number | null
    bosString: string | null
    eosString: string | null
    shouldPrependBosToken: boolean
  }
  readonly fileInsights: {
    estimateContextResourceRequirementsV2(options: {
      contextSize: number
      sequences: number
      modelGpuLayers: number
    }): Promise<{ cpuRam: number }>
  }
  readonly fileInfo: { metadata: { tokenizer?: { chat_template?: string } } }
  tokenize(text: string, special: boolean): number[]
  detokenize(tokens: readonly number[], special: boolean, before?: readonly number[]): string
  isEogToken(token: number): boolean
  createContext(options: {
    sequences: number
    contextSize: number
    batchSize: number
    threads: number
    flashAttention: 'auto'
    batching: { itemPrioritizationStrategy: Prioritise }
  }): Promise<Context>
  createEmbeddingContext(options: { contextSize: number; threads: number }): Promise<EmbeddingContext>
}
interface Context {
  readonly contextSize: number
  getSequence(): Sequence
}
export interface Sequence {
  readonly contextTokens: number[]
  readonly nextTokenIndex: number
  compareContextTokens(tokens: readonly number[]): { firstDifferentIndex: number }
  adaptStateToTokens(tokens: readonly number[], shift: boolean): Promise<void>
  clearHistory(): Promise<void>
  evaluate(
    tokens: readonly number[],
    options: Draw & { evaluationPriority: number; grammarEvaluationState?: GrammarState },
  ): AsyncGenerator<number, void>
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[], options: { evaluationPriority: number }): Promise<void>
  controlledEvaluate(
    input: readonly (number | readonly [number, object])[],
    options: { evaluationPriority: number },
  ): Promise<({ next: Next } | undefined)[]>
}
/** Chooses how many tokens of what waits are run next, and in which order. */
export type Prioritise = (waiting: { items: readonly Waiting[] }) => { item: Waiting; processAmount: number }[]
interface Waiting {
  readonly tokens: readonly number[]
  readonly evaluationPriority: number
}
interface EmbeddingContext {
  getEmbeddingFor(tokens: readonly number[]): Promise<{ vector: readonly number[] }>
}
/** How tokens are drawn. */
export interface Draw {
  temperature: number
  topK: number
  topP: number
  minP: number
  seed: number
  repeatPenalty?: object
}
interface Next {
  token?: number | null
  logits?: Map<number, number>
  totalLogitWeight?: number
}

export interface Loaded {
  readonly model: Model
  /** What may be written, for one text. */
  grammarState(gbnf: string): GrammarState
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
    const grammarState = (gbnf: string) => {
      const grammar = new library.LlamaGrammar(llama, { grammar: gbnf })
      return new library.LlamaGrammarEvaluationState({ model, grammar })
    }
    return { model, grammarState }
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'llama.cpp cannot load it' }, { cause: error })
  }
}
