import { targets } from './bert.ts'
import type { Family } from './family.ts'

/** Families that start from a model that someone trained before; what is learnt is the task's matter. */
export interface EncoderFamily extends Pick<Family, 'description' | 'options' | 'defaults'> {
  readonly tasks: readonly ['text-classification', ...EncoderTask[]]
}
type EncoderTask = 'text-classification' | 'token-classification' | 'feature-extraction' | 'fill-mask'

/** A published encoder, trained on. */
export const encoderFamily = {
  tasks: ['text-classification', 'token-classification', 'feature-extraction', 'fill-mask'],
  description: 'a published encoder (BERT, RoBERTa, DistilBERT, MiniLM), trained on: name it with --from',
  options: {
    maxLength: {
      type: 'integer',
      default: 128,
      minimum: 4,
      maximum: 8192,
      description: 'tokens kept of a text; at most what the encoder was made for',
    },
    tuning: {
      type: 'string',
      default: 'full',
      choices: ['full', 'last', 'lora'],
      description: 'what is trained: everything, the last layers, or low-rank changes (LoRA); the head always is',
    },
    layers: { type: 'integer', default: 2, minimum: 0, maximum: 256, description: 'layers trained with tuning=last' },
    rank: { type: 'integer', default: 8, minimum: 1, maximum: 1024, description: 'rank of changes with tuning=lora' },
    alpha: {
      type: 'number',
      default: 16,
      minimum: 0.001,
      maximum: 4096,
      description: 'changes count alpha / rank with tuning=lora',
    },
    targets: {
      type: 'string',
      default: 'query,value',
      choices: targets,
      several: true,
      description: 'products changed with tuning=lora, with commas between them',
    },
    dropout: {
      type: 'number',
      default: 0.1,
      minimum: 0,
      maximum: 0.95,
      description: 'share of activations dropped in training',
    },
    masked: {
      type: 'number',
      default: 0.15,
      minimum: 0.01,
      maximum: 0.9,
      description: 'share of the words to be guessed, for fill-mask',
    },
  },
  defaults: { batchSize: 16, epochs: 4, warmup: 0.1, learningRate: 5e-5 },
} as const satisfies EncoderFamily

/** Peak learning rates that suit what is trained: the less there is, the faster it may change. */
export const ratesByTuning: Readonly<Record<string, number>> = { full: 5e-5, last: 1e-4, lora: 1e-3 }
