import { fail } from '../base/errors.ts'
import { kerasTokenizer } from './keras-tokenizer.ts'
import { PublishedTokenizer } from './published.ts'
import { type Normalisation, normalise } from './text.ts'
import { both, bpe, characters, type Tokenizer, words } from './tokenizers.ts'

export interface PipelineConfig {
  normalise: Normalisation
  /** `keras` and `published` are tokenizers that came with a model; they are not trained here. */
  tokenizer: 'character' | 'word' | 'both' | 'bpe' | 'keras' | 'published'
  /** Most tokens known, the two special ones (0 padding, 1 unknown) included. */
  vocabulary: number
  minimumCount: number
  /** Tokens kept of a text. */
  maxLength: number
  /** Which end of a longer text is cut off: the end, unless it says otherwise. */
  truncate?: 'start' | 'end'
  /** Whether the model judges pairs of texts, and no single ones. */
  pairs?: boolean
}

const kinds = { character: characters, word: words, both, bpe } as const
const published = {
  load: (json: string, { maxLength }: { maxLength: number }): Tokenizer => new PublishedTokenizer(json, { maxLength }),
}
const load = { ...kinds, keras: { load: kerasTokenizer }, published } as const

/**
 * The preprocessing that travels with a model: normalisation and tokenizer, as data (`config` in the manifest,
 * `tokenizer.json` beside it). The same code runs in training and in serving.
 */
export class TextPipeline {
  readonly config: PipelineConfig
  readonly #tokenizer: Tokenizer

  private constructor(config: PipelineConfig, tokenizer: Tokenizer) {
    this.config = config
    this.#tokenizer = tokenizer
  }

  /** The preprocessing of a published model, which keeps `maxLength` tokens of a text. */
  static published(tokenizerJson: string, maxLength: number): TextPipeline {
    const tokenizer = new PublishedTokenizer(tokenizerJson, { maxLength })
    const normalise = { unicode: 'none', lowercase: false } as const
    const { size: vocabulary } = tokenizer
    return new TextPipeline({ normalise, tokenizer: 'published', vocabulary, minimumCount: 1, maxLength }, tokenizer)
  }

  /** Learns a vocabulary from texts. */
  static async train(texts: AsyncIterable<string>, config: PipelineConfig): Promise<TextPipeline> {
    async function* normalised() {
      for await (const text of texts) yield normalise(text, config.normalise)
    }
    if (config.tokenizer === 'keras' || config.tokenizer === 'published')
      throw fail('UNSUPPORTED', {
        what: `training a ${config.tokenizer} tokenizer`,
        instead: 'Choose character, word, both or bpe.',
      })
    const kind = kinds[config.tokenizer]
    return new TextPipeline(config, await kind.train(normalised(), config))
  }

  /** Restores a pipeline from a bundle; throws BUNDLE_INVALID when the parts do not fit. */
  static load(config: PipelineConfig, tokenizerJson: string): TextPipeline {
    try {
      return new TextPipeline(config, load[config.tokenizer].load(tokenizerJson, config))
    } catch (error) {
      throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json cannot be read' }, { cause: error })
    }
  }

  get vocabularySize(): number {
    return this.#tokenizer.size
  }

  /** Token ids of each text, or of it and its second text, at least one and at most `maxLength`. */
  async encode(texts: readonly string[], pairs?: readonly (string | undefined)[]): Promise<Int32Array[]> {
    const { maxLength, normalise: how, truncate } = this.config
    // it cuts texts itself, where it may keep the tokens that frame them
    if (this.config.tokenizer === 'published') return this.#tokenizer.encode(texts, pairs)
    const { raw } = this.#tokenizer
    // four UTF-16 units a token is plenty for characters and words; a huge text is not normalised whole
    const limit =
      truncate === 'start' || raw
        ? Number.POSITIVE_INFINITY
        : maxLength * (this.config.tokenizer === 'character' ? 4 : 32)
    const cut = (text: string) => normalise(text.slice(0, limit), how)
    const ids = await this.#tokenizer.encode(raw ? texts : texts.map(cut))
    return ids.map((list) => {
      if (list.length === 0) return Int32Array.of(raw ? 0 : 1)
      return truncate === 'start' ? list.subarray(-maxLength) : list.subarray(0, maxLength)
    })
  }

  /** `tokenizer.json`: in Hugging Face's format, or Keras' own for `keras`. */
  get tokenizerJson(): string {
    return this.#tokenizer.json
  }
}
