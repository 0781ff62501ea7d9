import { fail } from '../base/errors.ts'
import { PublishedTokenizer } from './published.ts'
import { type Normalisation, normalise } from './text.ts'
import { bpe, characters, type Tokenizer, words } from './tokenizers.ts'

export interface PipelineConfig {
  normalise: Normalisation
  /** `published` came with a model that someone else trained, and normalises by itself. */
  tokenizer: 'character' | 'word' | 'bpe' | 'published'
  /** Most tokens known, the two special ones (0 padding, 1 unknown) included. */
  vocabulary: number
  minimumCount: number
  /** Tokens kept of a text. */
  maxLength: number
}

const published = {
  train: (): Promise<Tokenizer> => {
    throw fail('OPTION_INVALID', { option: 'tokenizer', reason: 'a published tokenizer comes with its model' })
  },
  load: (json: string, { maxLength }: PipelineConfig): Tokenizer => new PublishedTokenizer(json, { maxLength }),
}
const kinds = { character: characters, word: words, bpe, published } as const

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
    return new TextPipeline(config, await kinds[config.tokenizer].train(normalised(), config))
  }

  /** Restores a pipeline from a bundle; throws BUNDLE_INVALID when the parts do not fit. */
  static load(config: PipelineConfig, tokenizerJson: string): TextPipeline {
    try {
      return new TextPipeline(config, kinds[config.tokenizer].load(tokenizerJson, config))
    } catch (error) {
      throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json cannot be read' }, { cause: error })
    }
  }

  get vocabularySize(): number {
    return this.#tokenizer.size
  }

  /** Token ids of each text, at least one and at most `maxLength`. */
  async encode(texts: readonly string[]): Promise<Int32Array[]> {
    const { maxLength, normalise: how } = this.config
    if (this.config.tokenizer === 'published') return this.#tokenizer.encode(texts)
    // four UTF-16 units a token is plenty for characters and words; a huge text is not normalised whole
    const limit = maxLength * (this.config.tokenizer === 'character' ? 4 : 32)
    const ids = await this.#tokenizer.encode(texts.map((text) => normalise(text.slice(0, limit), how)))
    return ids.map((list) => (list.length === 0 ? Int32Array.of(1) : list.subarray(0, maxLength)))
  }

  /** `tokenizer.json` in Hugging Face's format. */
  get tokenizerJson(): string {
    return this.#tokenizer.json
  }
}
