import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { TextPipeline } from '../../data/pipeline.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import { readModel, writeModel } from '../../graph/codec.ts'
import { signatureOf } from '../../graph/signature.ts'
import { storedWeights } from '../../graph/stored.ts'
import { float32 } from '../../graph/tensor.ts'
import type { EncoderConfig } from '../../nn/bert.ts'
import { type EncoderHead, encoderModel, encoderParameters } from '../../nn/encoders.ts'
import { countParameters } from '../../nn/families.ts'
import { readSafetensors, writeSafetensors } from '../safetensors.ts'
import type { PublishedEncoder } from './folder.ts'

/** What the manifest of an encoder says of it beyond what every manifest does. */
interface EncoderCard {
  config: EncoderConfig
  head: EncoderHead
}

/** Weights that the served graph does not use, kept for training. */
const REST = 'rest.safetensors'
const companions = ['tokenizer_config.json', 'special_tokens_map.json']

/** The bundle of an encoder: what its manifest says of it, and its files. */
export function bundleEncoder(encoder: PublishedEncoder) {
  const { config, head, labels, weights, tokenizerJson, maxLength } = encoder
  const model = encoderModel(config, head, weights)
  const own = encoderParameters(config, head)
  const used = new Set(own.map(({ name }) => name))
  const rest = Object.entries(weights).filter(([name]) => !used.has(name))
  const card: EncoderCard = { config, head }
  return {
    manifest: {
      task: head.task,
      family: config.layout,
      signature: signatureOf(model),
      labels,
      pipeline: {
        ...TextPipeline.published(tokenizerJson, maxLength).config,
        ...(head.task === 'text-classification' && head.classes === 1 && { pairs: true }),
        ...(head.task === 'fill-mask' && { mask: new PublishedTokenizer(tokenizerJson, { maxLength }).mask?.content }),
      } as Record<string, unknown>,
      encoder: card as unknown as Record<string, unknown>,
      parameters: countParameters(own),
    },
    files: {
      'model.onnx': writeModel(model),
      'tokenizer.json': tokenizerJson,
      ...encoder.companions,
      ...(rest.length > 0 && {
        [REST]: writeSafetensors(rest.map(([name, { dims, data }]) => [name, float32(dims, data)])),
      }),
    } as Record<string, Uint8Array | string>,
  }
}

/** The encoder in a bundle; throws UNSUPPORTED when it holds none. */
export function encoderFrom(
  manifest: Manifest,
  read: (file: string) => Uint8Array | undefined,
  name: string,
): PublishedEncoder {
  const { encoder, pipeline, labels } = manifest
  if (!encoder || !pipeline)
    throw fail('UNSUPPORTED', {
      what: `"${name}" of the family ${manifest.family} as an encoder to start from`,
      instead: 'Give a model of the family bert, roberta or distilbert, or the folder of a published one.',
    })
  const { config, head } = encoder as unknown as EncoderCard
  const weights: PublishedEncoder['weights'] = {}
  const stored = storedWeights(readModel(read('model.onnx')!))
  for (const { name: path } of encoderParameters(config, head)) if (stored[path]) weights[path] = stored[path]
  const rest = read(REST)
  if (rest)
    for (const [path, { dims, data }] of readSafetensors(rest).tensors)
      weights[path] = { dims, data: data as Float32Array }
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  return {
    config,
    head,
    labels,
    weights,
    tokenizerJson: text(read('tokenizer.json')!),
    companions: Object.fromEntries(
      companions.flatMap((file) => {
        const bytes = read(file)
        return bytes ? [[file, text(bytes)]] : []
      }),
    ),
    maxLength: Number(pipeline.maxLength),
  }
}
