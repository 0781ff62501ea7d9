import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import type { DecoderConfig } from './decoder.ts'

/** What a classifier is built from; sizes in elements. */
export interface ClassifierConfig {
  vocabulary: number
  classes: number
  [option: string]: number | string | boolean | null
}

/** ids int64 (batch, time) padded at the end, lengths int64 (batch) → logits (batch, classes). */
export type Build = (network: Network, ids: Value, lengths: Value, config: ClassifierConfig) => Value

interface FamilyOption {
  readonly type: 'integer' | 'number' | 'string' | 'boolean'
  readonly default: number | string | boolean
  readonly description: string
  readonly minimum?: number
  readonly maximum?: number
  readonly choices?: readonly string[]
  /** The string is a list of choices with commas between them. */
  readonly several?: boolean
}

interface Described {
  readonly description: string
  readonly options: Readonly<Record<string, FamilyOption>>
  /** Where the family trains best with other values of the task's and the loop's options than the common ones. */
  readonly defaults?: Readonly<Record<string, number | string | boolean>>
}

/** Features of texts whose rarity in the training texts is known to the network: row numbers of the frozen `parameter` (size). */
export interface Counted {
  readonly parameter: string
  readonly size: number
  /** ids int64 (batch, time), lengths int64 (batch) → row numbers int64 and whether they are any, bool, both (batch, n). */
  features(ids: Value, lengths: Value, config: ClassifierConfig): { grams: Value; valid: Value }
}

export interface TextFamily extends Described {
  readonly task: 'text-classification'
  readonly build: Build
  readonly counted?: (config: ClassifierConfig) => Counted | undefined
}

/** A decoder's sizes from its options, once the vocabulary is known; throws OPTION_INVALID when they do not fit together. */
export interface DecoderFamily extends Described {
  readonly task: 'text-generation'
  readonly config: (options: Readonly<Record<string, unknown>>, vocabulary: number) => DecoderConfig
}

/** What an image classifier is built from. */
export interface ImageClassifierConfig {
  classes: number
  [option: string]: number | string | boolean | null
}

/** pixels float32 (batch, channels, height, width) → logits (batch, classes). */
type ImageBuild = (network: Network, pixels: Value, config: ImageClassifierConfig) => Value

export interface ImageFamily extends Described {
  readonly task: 'image-classification'
  readonly build: ImageBuild
}

/** A network that someone else made: an imported ONNX graph. */
interface ImportedFamily extends Described {
  readonly task: 'image-classification' | 'tensor'
  readonly imported: true
}

/** A family by what it learns. */
export type Family = TextFamily | ImageFamily | DecoderFamily | ImportedFamily
