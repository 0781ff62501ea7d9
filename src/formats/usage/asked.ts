import type { PipelineConfig } from '../../data/pipeline.ts'

/** What a program is written for: the model's task, how it cuts texts, what its graph and its tokenizer call things. */
export interface Asked {
  readonly task: string
  readonly format: string
  readonly pipeline: PipelineConfig
  /** The output of classifiers of texts. */
  readonly output: string
  /** The token that stands for a word to be guessed. */
  readonly mask: string
  /** Whether the graph has recurrent layers, which are loops in TensorFlow.js. */
  readonly loops: boolean
  /** How an image is brought to size. */
  readonly fit: string
  readonly channels: number
}

/** A block of a program, moved to the right. */
export const indented = (text: string, by: number) => text.replaceAll(/^(?=.)/gm, ' '.repeat(by))
