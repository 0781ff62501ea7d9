import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'

/** One hyperparameter: its type is that of its default; `null` means chosen from the data. */
export interface Option {
  readonly type: 'integer' | 'number' | 'string' | 'boolean'
  readonly default: number | string | boolean | null
  readonly description: string
  readonly minimum?: number
  readonly maximum?: number
  readonly choices?: readonly string[]
  /** The string is a list of choices with commas between them. */
  readonly several?: boolean
}
export type Options = Record<string, number | string | boolean | null>

/** Hyperparameters of preprocessing texts. */
export const textOptions = {
  tokenizer: {
    type: 'string',
    default: 'auto',
    choices: ['auto', 'character', 'word', 'both', 'bpe'],
    description:
      'how a text is cut into tokens: both gives its words and then its characters; auto takes characters for texts of several scripts, words otherwise',
  },
  vocabulary: { type: 'integer', default: 20_000, minimum: 16, maximum: 1_000_000, description: 'most tokens known' },
  minimumCount: {
    type: 'integer',
    default: 2,
    minimum: 1,
    maximum: 1_000_000,
    description: 'occurrences a token needs to enter the vocabulary',
  },
  maxLength: { type: 'integer', default: 160, minimum: 4, maximum: 8192, description: 'tokens kept of a text' },
  script: {
    type: 'string',
    default: 'as it is',
    choices: ['as it is', 'simplified', 'traditional'],
    description: 'the script that Chinese is converted to, in training and in serving',
  },
  wordDropout: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 0.9,
    description: 'share of tokens made unknown in training',
  },
  heldOutRows: {
    type: 'integer',
    default: 5000,
    minimum: 0,
    maximum: 5000,
    description: 'most held-out rows kept in the bundle as text, so that refined models can be measured; 0 for none',
  },
  heldInRows: {
    type: 'integer',
    default: 1000,
    minimum: 0,
    maximum: 5000,
    description: 'most training rows kept in the bundle as text, to calibrate refined models with; 0 for none',
  },
  crop: {
    type: 'boolean',
    default: false,
    description: 'train on random windows of the texts, so that short inputs are learnt too',
  },
} as const satisfies Record<string, Option>

/** Hyperparameters of what is learnt and of how weights are chosen. */
export const headOptions = {
  labelSmoothing: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 0.9,
    description: 'share of the target spread evenly over all classes',
  },
  classWeights: {
    type: 'string',
    default: 'none',
    description: 'what rows of a class count: none (all the same), balanced, or label=weight, … for some labels',
  },
  chooseBy: {
    type: 'string',
    default: 'auto',
    choices: ['auto', 'accuracy', 'macroF1', 'microF1', 'subsetAccuracy', 'loss', 'mae', 'rmse', 'r2', 'spearman'],
    description: 'the figure on the validation split by which epochs are compared',
  },
} as const satisfies Record<string, Option>

/** Hyperparameters of preprocessing a corpus. */
export const corpusOptions = {
  tokenizer: {
    type: 'string',
    default: 'auto',
    choices: ['auto', 'bpe', 'character'],
    description:
      'byte pairs or single characters; auto takes characters for Chinese and Japanese, byte pairs otherwise',
  },
  vocabulary: {
    type: 'integer',
    default: null,
    minimum: 16,
    maximum: 1_000_000,
    description: 'most tokens known; chosen by the amount of text if not given',
  },
  context: {
    type: 'integer',
    default: null,
    minimum: 8,
    maximum: 131_072,
    description: 'tokens of a text read at once; 128 if not given, when going on from a model at most its own',
  },
  prompt: { type: 'string', default: '', description: 'what the samples shown in training begin with' },
  adapt: {
    type: 'string',
    default: 'all',
    choices: ['all', 'lora'],
    description: 'when going on from a model: train all weights, or low-rank additions that are merged at the end',
  },
  rank: { type: 'integer', default: 8, minimum: 1, maximum: 1024, description: 'rank of low-rank additions' },
} as const satisfies Record<string, Option>

/** Hyperparameters of preprocessing images. */
export const imageOptions = {
  size: {
    type: 'integer',
    default: null,
    minimum: 4,
    maximum: 2048,
    description: 'height and width in pixels; images of up to 64 pixels keep theirs, others get at most 224',
  },
  channels: { type: 'integer', default: null, minimum: 1, maximum: 3, description: '1 for grey, 3 for colour' },
  fit: {
    type: 'string',
    default: 'cover',
    choices: ['cover', 'contain', 'fill'],
    description: 'how an image of another shape is brought to size: its middle, all of it with black beside, stretched',
  },
  shift: {
    type: 'integer',
    default: null,
    minimum: 0,
    maximum: 512,
    description: 'pixels by which training images are moved at random; a fourteenth of their size if not given',
  },
  flip: { type: 'boolean', default: false, description: 'mirror half of the training images' },
} as const satisfies Record<string, Option>

/** Hyperparameters of the loop, for every task; a task and a family add their own. */
export const loopOptions = {
  epochs: { type: 'integer', default: null, minimum: 1, maximum: 10_000, description: 'passes over the training rows' },
  batchSize: { type: 'integer', default: 32, minimum: 1, maximum: 4096, description: 'rows in one step' },
  optimizer: { type: 'string', default: 'adamw', choices: ['adamw', 'sgd'], description: 'update rule' },
  learningRate: { type: 'number', default: 0.002, minimum: 1e-8, maximum: 10, description: 'peak learning rate' },
  warmup: {
    type: 'number',
    default: 0.03,
    minimum: 0,
    maximum: 1,
    description: 'share of the steps over which the learning rate rises; one-cycle has its own',
  },
  schedule: {
    type: 'string',
    default: 'linear',
    choices: ['linear', 'cosine', 'constant', 'one-cycle'],
    description: 'how the learning rate falls after warm-up',
  },
  accumulate: {
    type: 'integer',
    default: 1,
    minimum: 1,
    maximum: 4096,
    description: 'batches whose gradients make one step',
  },
  maxSteps: {
    type: 'integer',
    default: null,
    minimum: 1,
    maximum: 1e9,
    description: 'steps after which training ends',
  },
  weightDecay: { type: 'number', default: 0.01, minimum: 0, maximum: 1, description: 'decoupled weight decay' },
  decayOf: {
    type: 'string',
    default: '',
    description: 'a regular expression for the paths of parameters that decay; matrices but embeddings if empty',
  },
  average: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 0.99999,
    description: 'moving average of the weights that is validated and kept: what stays of it in a step; 0 for none',
  },
  clipNorm: {
    type: 'number',
    default: 1,
    minimum: 0,
    maximum: 1e6,
    description: 'largest gradient norm; 0 for no limit',
  },
  patience: {
    type: 'integer',
    default: 5,
    minimum: 1,
    maximum: 10_000,
    description: 'epochs without a better validation score before training stops',
  },
  threads: { type: 'integer', default: null, minimum: 1, maximum: 256, description: 'threads of the training process' },
} as const satisfies Record<string, Option>

/** The parts of a list with commas. */
export const listed = (value: string) => value.split(',').map((part) => part.trim())

/** Defaults, overridden by what is given; throws OPTION_INVALID naming the option, what is wrong and the allowed range. */
export function resolveOptions(table: Record<string, Option>, given: Options): Options {
  const resolved: Options = Object.fromEntries(Object.entries(table).map(([name, option]) => [name, option.default]))
  for (const [name, value] of Object.entries(given)) {
    const option = table[name]
    if (!option) {
      const suggestion = suggest(name, Object.keys(table))
      throw fail('OPTION_INVALID', { option: name.slice(0, 80), reason: 'there is no such option' }, { suggestion })
    }
    const reason = complaint(option, value)
    if (reason) throw fail('OPTION_INVALID', { option: name, reason })
    resolved[name] = value
  }
  return resolved
}

function complaint(option: Option, value: Options[string]): string | undefined {
  const { type, minimum, maximum, choices, several } = option
  if (type === 'boolean' || type === 'string') {
    if (typeof value !== type) return `expected a ${type}, got ${JSON.stringify(value)}`
    const wrong = choices && (several ? listed(value as string) : [value]).find((one) => !choices.includes(String(one)))
    return wrong === undefined
      ? undefined
      : `expected one of ${choices!.join(', ')}, got "${String(wrong).slice(0, 80)}"`
  }
  if (typeof value !== 'number' || !Number.isFinite(value)) return `expected a number, got ${JSON.stringify(value)}`
  if (type === 'integer' && !Number.isInteger(value)) return `expected a whole number, got ${value}`
  if (value < minimum! || value > maximum!) return `expected ${minimum} to ${maximum}, got ${value}`
  return undefined
}

/**
 * Epochs where none were asked for: enough that small data sets see about 60,000 rows of training,
 * between 5 and 40 passes.
 */
export const defaultEpochs = (rows: number) => Math.min(40, Math.max(5, Math.round(60_000 / Math.max(1, rows))))
