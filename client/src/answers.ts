/** A label and its score; of a model of numbers, the name of the number and the number. */
export interface Ranked {
  label: string
  score: number
  /** Where a text may have several labels: whether this one's score reaches its threshold. */
  chosen?: boolean
}

/** A word at the place of a mask. */
export interface Fill {
  token: string
  id: number
  score: number
}

/** A stretch of a text that was labelled; `start` and `end` count UTF-16 units, as JavaScript's strings do. */
export interface Entity {
  label: string
  score: number
  start: number
  end: number
  text: string
}

export interface JsonTensor {
  shape: number[]
  data: unknown[]
}

export interface Prediction<Outputs> {
  model: string
  version: number
  requestId: string
  outputs: Outputs
  /** Milliseconds. */
  timings: { queue: number; pre: number; run: number; post: number; total: number }
}

export interface GenerateOptions {
  maxTokens?: number
  temperature?: number
  topP?: number
  topK?: number
  seed?: number
  stop?: string[]
  repetitionPenalty?: number
  presencePenalty?: number
  frequencyPenalty?: number
  logprobs?: number
}

export interface ChatMessage {
  role: string
  content: string
}

export interface GeneratedToken {
  type: 'token'
  token: number
  /** What can be shown from here on; whole characters only. */
  text: string
  logprob?: number
  bytes?: number[]
  top?: { token: number; text: string; bytes: number[]; logprob: number }[]
}

export interface GenerationEnd {
  type: 'end'
  text: string
  finish: 'stop' | 'length' | 'calls' | 'cancelled'
  usage: { promptTokens: number; completionTokens: number }
  model: string
  version: number
  requestId: string
}

export type GenerationEvent = GeneratedToken | GenerationEnd

export interface Generation {
  model: string
  version: number
  requestId: string
  text: string
  finish: GenerationEnd['finish']
  usage: GenerationEnd['usage']
  tokens?: GeneratedToken[]
  milliseconds: number
}
