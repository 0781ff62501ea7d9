import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { TextCodec } from '../../data/codec.ts'
import { type GenerationConfig, generationConfig } from '../../data/generation.ts'
import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { signatureOf } from '../../graph/signature.ts'
import { storedWeights } from '../../graph/stored.ts'
import { type DecoderConfig, decoderGraph } from '../../nn/decoder.ts'
import { headSizeOf } from '../../nn/layers.ts'

/** Weights by our paths. */
export type DecoderWeights = Record<string, { dims: readonly number[]; data: Float32Array }>

/** A decoder apart from how it is stored: sizes, weights, tokenizer, and how texts begin and end. */
export interface StoredDecoder {
  readonly config: DecoderConfig
  readonly weights: DecoderWeights
  readonly tokenizerJson: string
  readonly generation: GenerationConfig
}

/** The sizes of a bundle's decoder; throws UNSUPPORTED for other models. */
export function decoderConfigOf(manifest: Manifest | undefined): DecoderConfig {
  const config = manifest?.pipeline?.decoder as DecoderConfig | undefined
  if (manifest?.task === 'text-generation' && config) return config
  throw fail('UNSUPPORTED', {
    what: `"${manifest?.family ?? 'this'}" as a GPT-2 or Llama decoder`,
    instead: 'Train one, or import one from a Hugging Face folder.',
  })
}

/** The decoder of a bundle; throws UNSUPPORTED for other models, BUNDLE_INVALID when weights are missing. */
export function decoderFrom(manifest: Manifest, model: ModelProto, tokenizerJson: string): StoredDecoder {
  const config = decoderConfigOf(manifest)
  const stored = storedWeights(model)
  const weights: DecoderWeights = {}
  for (const [path, dims] of Object.entries(decoderShapes(config))) {
    if (`${stored[path]?.dims}` !== `${dims}`)
      throw fail('BUNDLE_INVALID', { reason: `the weight "${path}" is missing or not as its sizes say` })
    weights[path] = { dims, data: stored[path].data }
  }
  return { config, weights, tokenizerJson, generation: generationConfig(manifest.pipeline) }
}

/** What the manifest of a decoder says of it beyond what every manifest does, and its files. */
export function bundleDecoder({ config, weights, tokenizerJson, generation }: StoredDecoder) {
  const model = decoderGraph(config, weights)
  const own = decoderShapes(config)
  return {
    manifest: {
      task: 'text-generation' as const,
      family: config.layout,
      signature: signatureOf(model),
      labels: [],
      pipeline: { ...generation, context: config.context, decoder: { ...config, dropout: 0 } } as Record<
        string,
        unknown
      >,
      parameters: Object.values(own).reduce((sum, dims) => sum + dims.reduce((a, b) => a * b, 1), 0),
    },
    files: { 'model.onnx': writeModel(model), 'tokenizer.json': tokenizerJson },
  }
}

/** The shape of every weight of a decoder, by our paths. */
export function decoderShapes(config: DecoderConfig): Record<string, readonly number[]> {
  const { layout, vocabulary, context, width, layers, heads, keyHeads, inner, tied } = config
  const size = headSizeOf(config)
  const [wide, kept] = [heads * size, keyHeads * size]
  const shapes: Record<string, readonly number[]> = { 'embedding/weight': [vocabulary, width] }
  const gpt = layout === 'gpt'
  if (gpt) shapes['positions/weight'] = [context, width]
  for (let i = 0; i < layers; i++) {
    const at = (name: string, dims: number[], bias = gpt) => {
      shapes[`layer.${i}/${name}/weight`] = dims
      if (bias) shapes[`layer.${i}/${name}/bias`] = dims.slice(0, 1)
    }
    const norm = (part: string) => {
      shapes[`layer.${i}/${part}/scale`] = [width]
      if (gpt) shapes[`layer.${i}/${part}/bias`] = [width]
    }
    norm('attention')
    if (gpt) at('attention/in', [3 * wide, width])
    else {
      at('attention/query', [wide, width])
      at('attention/key', [kept, width])
      at('attention/value', [kept, width])
    }
    at('attention/out', [width, wide])
    norm('feedForward')
    if (gpt) at('feedForward/in', [inner, width])
    else {
      at('feedForward/gate', [inner, width])
      at('feedForward/up', [inner, width])
    }
    at(gpt ? 'feedForward/out' : 'feedForward/down', [width, inner])
  }
  shapes['last/scale'] = [width]
  if (gpt) shapes['last/bias'] = [width]
  if (!tied) shapes['head/weight'] = [vocabulary, width]
  return shapes
}

/** Special tokens of a decoder's tokenizer by their part: what ends a text, and what one begins with. */
export function specialTokens({ tokenizerJson, generation }: Pick<StoredDecoder, 'tokenizerJson' | 'generation'>) {
  const names = new Map([...TextCodec.load(tokenizerJson).special].map(([content, id]) => [id, content]))
  const of = (id: number | undefined) => (id === undefined ? undefined : names.get(id))
  return { end: of(generation.end[0]), start: of(generation.start) }
}
