import { fail } from '../base/errors.ts'
import type { DecoderConfig } from './decoder.ts'
import type { DecoderFamily } from './family.ts'

const integer = (value: number, description: string, minimum = 1, maximum = 16_384) =>
  ({ type: 'integer', default: value, minimum, maximum, description }) as const

const shared = {
  width: integer(128, 'size of a token’s vector'),
  layers: integer(4, 'layers of attention and feed-forward parts', 1, 96),
  heads: integer(4, 'attention heads; their number divides the width', 1, 128),
  inner: integer(0, 'size of the feed-forward part; 0 for the usual multiple of the width', 0, 65_536),
  dropout: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 0.95,
    description: 'share of activations dropped in training',
  },
} as const satisfies DecoderFamily['options']
/** nanoGPT's recipe for a processor, but for the number of steps. */
const defaults = { batchSize: 12, learningRate: 0.001, warmup: 0.05, weightDecay: 0.1, clipNorm: 1, patience: 3 }

function common(options: Readonly<Record<string, unknown>>, vocabulary: number) {
  const [width, layers, heads, context, dropout] = ['width', 'layers', 'heads', 'context', 'dropout'].map((name) =>
    Number(options[name]),
  )
  if (width % heads !== 0)
    throw fail('OPTION_INVALID', { option: 'width', reason: `expected a multiple of the ${heads} heads` })
  return { vocabulary, context, width, layers, heads, dropout, base: 10_000, epsilon: 1e-5 }
}

export const gpt: DecoderFamily = {
  task: 'text-generation',
  description: 'GPT-2’s decoder: learnt positions, GELU, scores from the embedding table',
  options: shared,
  defaults,
  config(options, vocabulary): DecoderConfig {
    const sizes = common(options, vocabulary)
    const inner = Number(options.inner) || 4 * sizes.width
    return { ...sizes, layout: 'gpt', keyHeads: sizes.heads, inner, tied: true }
  },
}

export const llama: DecoderFamily = {
  task: 'text-generation',
  description: 'Llama’s decoder: rotary positions, SwiGLU, heads that share keys; exports to GGUF',
  options: {
    ...shared,
    keyHeads: integer(0, 'heads of keys and values, a divisor of the heads; 0 for half of them', 0, 128),
    tied: { type: 'boolean', default: true, description: 'take scores from the embedding table' },
  },
  defaults,
  config(options, vocabulary): DecoderConfig {
    const sizes = common(options, vocabulary)
    const { width, heads } = sizes
    const keyHeads = Number(options.keyHeads) || Math.max(1, Math.floor(heads / 2))
    if (heads % keyHeads !== 0)
      throw fail('OPTION_INVALID', { option: 'keyHeads', reason: `expected a divisor of the ${heads} heads` })
    if ((width / heads) % 2 !== 0)
      throw fail('OPTION_INVALID', { option: 'width', reason: 'expected an even size of each head' })
    // as many weights as a plain feed-forward part of four times the width, in multiples of 32
    const inner = Number(options.inner) || Math.ceil((8 * width) / 3 / 32) * 32
    return { ...sizes, layout: 'llama', keyHeads, inner, tied: options.tied === true }
  },
}
