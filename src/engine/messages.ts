import type { HubInput } from '../bundle/hub.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { ImageContent } from '../data/images/pixels.ts'
import type { Window } from '../drift/sketch.ts'
import type { Tensor } from '../graph/tensor.ts'

/** Where the time of one request went, in milliseconds, and how many rows shared its batch. */
export interface Timings {
  queue: number
  pre: number
  run: number
  post: number
  batch: number
  /** Tokens of its texts. */
  tokens?: number
}

export interface ChatMessage {
  role: string
  content: string
  /** Calls that the assistant made in this turn. */
  calls?: ToolCall[]
  /** Of a message of the role `tool`: the call that it answers. */
  callId?: string
}

/** A function that the model wants called; `arguments` is JSON text. */
export interface ToolCall {
  id: string
  name: string
  arguments: string
}

/** A function that a model may call; `parameters` is the JSON Schema of its arguments. */
export interface Tool {
  name: string
  description?: string
  parameters?: Record<string, unknown>
}

/** The likeliest token each time, and nothing else asked for. */
export const GREEDY = {
  temperature: 0,
  topP: 1,
  topK: 0,
  stop: [] as string[],
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
}

/** What a decoder is asked to write: one of `prompt` and `messages`, and how tokens are drawn. */
export interface GenerationRequest {
  /** A text, or its token ids. */
  prompt?: string | number[]
  messages?: ChatMessage[]
  /** Most tokens written. */
  maxTokens: number
  /** 0 always takes the likeliest token. */
  temperature: number
  /** Tokens are drawn from the likeliest that together have this probability; 1 for all. */
  topP: number
  /** Tokens are drawn from this many of the likeliest; 0 for all. */
  topK: number
  /** Equal seeds give equal texts of the same version; drawn at random if absent. */
  seed?: number
  /** The text ends before the first of these. */
  stop: string[]
  /** Divides (or, below zero, multiplies) the score of tokens that occurred, prompt included; 1 for none. */
  repetitionPenalty: number
  /** Taken from the score of tokens written before, once and for each time. */
  presencePenalty: number
  frequencyPenalty: number
  /** What is written is JSON: any object, or what a JSON Schema describes. */
  json?: true | Record<string, unknown>
  /** Functions that may be called, and whether: as the model likes, at least one, or the one named. */
  tools?: Tool[]
  toolChoice?: 'auto' | 'required' | { name: string }
  /** The caller reads the text only when all of it is there. */
  whole?: boolean
  /** Tell the log-probability of each token, and of this many of the likeliest instead of it. */
  logprobs?: number
}

/** A token that could have stood at a place: `bytes` are its UTF-8, which may end within a character. */
export interface TokenChance {
  token: number
  text: string
  bytes: number[]
  logprob: number
}

/**
 * What comes of a generation, in order; the last is `end`. A token's `text` is what can be shown from then on: whole
 * characters only, and empty while it may turn out to be the beginning of a stop string. Another server's tokens have no
 * numbers (-1), and several may come as one. A token of a call adds to its `arguments`; the first one of a call names it.
 */
export type GenerationEvent =
  | {
      type: 'token'
      token: number
      text: string
      logprob?: number
      bytes?: number[]
      top?: TokenChance[]
      call?: { index: number; id?: string; name?: string; arguments: string }
    }
  | {
      type: 'end'
      /** What was still held back. */
      text: string
      finish: 'stop' | 'length' | 'calls' | 'cancelled'
      usage: { promptTokens: number; completionTokens: number }
    }

/**
 * One request to an engine: texts to judge (`pairs`: the second text of each; `raw`:
 * logits of them; `topK`: how many words for each mask; `ids`: what they are as tokens, which
 * models of vectors take instead), images to classify, tensors for a plain graph, or a text to write. `at` is the monotonic time it came; once `withdrawn`, it need not be run or answered. A canary is
 * asked to see that the engine answers, and is no part of what is counted for drift.
 */
export type EngineRequest = { id: number; at: number; withdrawn?: boolean; canary?: true } & (
  | { kind: 'texts'; texts: string[]; pairs?: string[]; raw?: boolean; topK?: number; ids?: number[][] }
  | { kind: 'images'; images: ImageContent[] }
  | { kind: 'tensors'; inputs: Record<string, Tensor> }
  /** Inputs of a task of the hub, by name. */
  | { kind: 'hub'; input: HubInput }
  | { kind: 'generate'; generation: GenerationRequest }
)

/** A word at the place of a mask. */
export interface Fill {
  token: string
  id: number
  score: number
}
/** A stretch of a text that was labelled, in UTF-16 units. */
export interface Entity {
  label: string
  score: number
  start: number
  end: number
  text: string
}

/**
 * For texts: class probabilities (texts, classes; for images too) row by row, vectors (texts, width) and how many tokens were read, the words for each mask of each
 * text, or the labelled stretches of each; otherwise output tensors by name.
 */
export type EngineOutput =
  | { kind: 'texts' | 'images'; probabilities: Float32Array }
  | { kind: 'vectors'; vectors: Float32Array; width: number; tokens?: number }
  | { kind: 'fills'; fills: Fill[][][] }
  | { kind: 'entities'; entities: Entity[][] }
  | { kind: 'tensors'; outputs: Record<string, Tensor> }
  /** As the task's own API has it. */
  | { kind: 'hub'; value: unknown }

export type EngineAnswer = { id: number } & (
  | { output: EngineOutput; timings: Timings }
  | { error: { code: string; details: Record<string, string | number> } }
)

/** Events of generations; several of one turn travel together. */
export type EngineEvent = { id: number } & (
  | { event: GenerationEvent }
  | { error: { code: string; details: Record<string, string | number> } }
)

export interface EngineStats {
  rss: number
  cpuSeconds: number
  waiting: number
  batches: number
}

/** What the control process sends; requests of one turn of its event loop travel together. */
export type ToEngine =
  /** What it will run comes later; perhaps by llama.cpp, from this folder. */
  | { type: 'prepare'; llama?: string }
  | {
      type: 'load'
      manifest: Manifest
      files: Record<string, string>
      threads?: number
      tokenBudget: number
      library?: string
    }
  | { type: 'requests'; requests: EngineRequest[] }
  /** Nobody waits for this request any more. */
  | { type: 'cancel'; id: number }
  | { type: 'stats'; id: number }

export type FromEngine =
  | { type: 'ready' }
  | { type: 'failed'; error: { code: string; details: Record<string, string | number> } }
  /** With how many batches its graph has run so far. */
  | { type: 'answers'; answers: EngineAnswer[]; batches: number }
  | { type: 'events'; events: EngineEvent[]; batches: number }
  | { type: 'stats'; id: number; stats: EngineStats }
  | { type: 'window'; window: Window }
  /** Work goes on, though nothing is ready. */
  | { type: 'alive' }

/** Milliseconds of a clock that all processes of a machine share and that no one sets back. */
export const monotonic = () => Number(process.hrtime.bigint()) / 1e6
