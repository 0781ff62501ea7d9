import { TextCodec } from '../data/codec.ts'
import { trainBytePairs, trainCharacters } from '../data/corpus/tokenizers.ts'
import { type DecoderWeights, decoderShapes, type StoredDecoder } from '../formats/decoders/decoder.ts'
import type { DecoderConfig } from '../nn/decoder.ts'

const texts = 'the quick brown fox jumps over the lazy dog. 今天天气很好，我们去公园散步。\n'.repeat(30)

/** A decoder with made-up weights and a real tokenizer, for tests of formats and engines; small where `sizes` do not say otherwise. */
export async function smallDecoder(
  layout: DecoderConfig['layout'],
  {
    tied = layout === 'gpt',
    keyHeads = layout === 'gpt' ? 4 : 2,
    characters = false,
    width = 64,
    vocabulary = 300,
    corpus = texts,
    sizes = {} as Partial<DecoderConfig>,
  } = {},
): Promise<StoredDecoder> {
  const special = ['<|endoftext|>']
  async function* once() {
    yield corpus
  }
  const tokenizerJson = await (characters ? trainCharacters : trainBytePairs)(once(), { vocabulary, special })
  const codec = TextCodec.load(tokenizerJson)
  const config: DecoderConfig = {
    layout,
    vocabulary: codec.size,
    context: 64,
    width,
    layers: 2,
    heads: 4,
    keyHeads,
    inner: 96,
    tied,
    base: 10_000,
    epsilon: 1e-5,
    dropout: 0,
    ...sizes,
  }
  const weights: DecoderWeights = {}
  Object.entries(decoderShapes(config)).forEach(([path, dims], k) => {
    const length = dims.reduce((a, b) => a * b, 1)
    const [centre, scale] = path.endsWith('scale') ? [1, 0.2] : [0, path.startsWith('embedding') ? 0.5 : 0.15]
    // a wave whose rows differ, without a pattern that a format's order could hide
    const value = (i: number) => centre + scale * Math.sin(i * 12.9898 + k * 78.233) * Math.cos(i * 0.37 + k)
    weights[path] = { dims, data: Float32Array.from({ length }, (_, i) => value(i)) }
  })
  const end = codec.special.get('<|endoftext|>')!
  return { config, weights, tokenizerJson, generation: { context: config.context, end: [end], start: end } }
}
