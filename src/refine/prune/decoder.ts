import { bundleDecoder, decoderFrom } from '../../formats/decoders/decoder.ts'
import { readModel } from '../../graph/codec.ts'
import { type DecoderConfig, decoderLoss } from '../../nn/decoder.ts'
import { feedsOf } from '../../train/assemble.ts'
import { assembleTokens } from '../../train/corpus.ts'
import type { Options } from '../../train/options.ts'
import { encodedBy } from '../inputs.ts'
import { goOn, trainedWith } from '../learn.ts'
import type { Subject } from '../subject.ts'
import { type Prunable, type Sized, SLOWER } from './network.ts'

/** The learning rate where the version was not trained here, and texts of a batch. */
const [RATE, BATCH] = [3e-4, 16]

/** A decoder of GPT-2's or Llama's layout; what counts is how well it foretells the next token. */
export function decoderNetwork(subject: Subject): Prunable {
  const { manifest, files } = subject
  const source = decoderFrom(manifest, subject.model, Buffer.from(files['tokenizer.json']).toString('utf8'))
  const { context: limit } = source.config
  const rebuilt = ({ sizes, weights }: Sized): Subject => {
    const bundle = bundleDecoder({ ...source, config: sizes as unknown as DecoderConfig, weights })
    const { signature, pipeline, parameters } = bundle.manifest
    const described = { ...manifest, signature, parameters, pipeline: { ...manifest.pipeline, ...pipeline } }
    return { ...subject, model: readModel(bundle.files['model.onnx']), manifest: described }
  }
  return {
    layout: source.config.layout,
    whole: { sizes: { ...source.config } as unknown as Options, weights: source.weights },
    rebuilt,
    loss: (network, sizes) => decoderLoss(network, { ...(sizes as unknown as DecoderConfig), dropout: 0 }),
    async batches(rows) {
      const texts = (
        await encodedBy(
          subject,
          rows.map(({ text }) => text),
        )
      ).filter(({ length }) => length > 1)
      texts.sort((a, b) => a.length - b.length)
      return Array.from({ length: Math.ceil(texts.length / BATCH) }, (_, b) =>
        feedsOf(assembleTokens(texts.slice(b * BATCH, (b + 1) * BATCH), limit), ['ids', 'targets']),
      )
    },
    learn(network, context) {
      const { learningRate, context: window } = trainedWith(manifest)
      const rate = learningRate == null ? RATE : Number(learningRate) * SLOWER
      const options = { epochs: 1, learningRate: rate, ...(window != null && { context: window }) }
      return goOn(rebuilt(network), context, { family: manifest.family, task: 'text-generation', options })
    },
  }
}
