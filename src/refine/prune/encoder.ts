import { bundleEncoder, encoderFrom } from '../../formats/huggingface/bundle.ts'
import { readModel, writeModel } from '../../graph/codec.ts'
import type { EncoderConfig } from '../../nn/bert.ts'
import { directionLoss, encoderLogits, encoderLoss, encoderModel } from '../../nn/encoders.ts'
import { feedsOf } from '../../train/assemble.ts'
import type { Options } from '../../train/options.ts'
import { directedBatch, directedBatches, drawnDirections, pointed } from '../directions.ts'
import type { Example } from '../examples/example.ts'
import { imitate } from '../imitate.ts'
import { tokenizerOf } from '../inputs.ts'
import { goOn, learn } from '../learn.ts'
import { type Subject, withModel } from '../subject.ts'
import { teacherOf } from '../teacher.ts'
import { labelled } from './classifier.ts'
import { EPOCHS, type Prunable, type Sized } from './network.ts'

/** The learning rate afterwards: twice that of training a whole encoder on, for what is left has more to learn. */
const RATE = 1e-4

/**
 * An encoder of BERT's kind with its head. Where rows have no label, what counts is the vector of a text: for units how much
 * it moves in directions drawn at random, for layers how far it points elsewhere than the version's own.
 */
export function encoderNetwork(subject: Subject): Prunable {
  const { manifest, files } = subject
  const read = (file: string) => (file === 'model.onnx' ? writeModel(subject.model) : files[file])
  const source = encoderFrom(manifest, read, manifest.family)
  const { head, labels } = source
  const configOf = (sizes: Options) => sizes as unknown as EncoderConfig
  const pooling = head.task === 'feature-extraction' ? head.pooling : 'mean'
  const rebuilt = ({ sizes, weights }: Sized): Subject => {
    const bundle = bundleEncoder({ ...source, config: configOf(sizes), weights })
    const { signature, encoder, parameters } = bundle.manifest
    const model = readModel(bundle.files['model.onnx'] as Uint8Array)
    return { ...subject, model, manifest: { ...manifest, signature, encoder, parameters } }
  }
  const encode = (rows: readonly Example[]) => tokenizerOf(subject).encode(rows.map(({ text }) => text))
  /** What the version itself makes of texts. */
  const said = (ids: Int32Array[], threads: number) => {
    const model = encoderModel(source.config, { task: 'feature-extraction', pooling, unit: true }, source.weights)
    return pointed(model, ids, source.config.padding, threads)
  }
  return {
    layout: 'encoder',
    whole: { sizes: { ...source.config } as unknown as Options, weights: source.weights },
    rebuilt,
    loss: (network, sizes) =>
      head.task === 'text-classification'
        ? encoderLoss(network, configOf(sizes), head, { tuning: { mode: 'full' }, dropout: 0 })
        : directionLoss(network, configOf(sizes), pooling),
    async batches(rows, of, threads) {
      if (head.task === 'text-classification') return labelled(subject, rows)
      const ids = await encode(rows)
      const { width, padding } = source.config
      const all = of === 'units' ? drawnDirections(ids, width, padding) : await said(ids, threads)
      return directedBatches(all).map((picked) => feedsOf(directedBatch(all, picked), ['ids', 'lengths', 'directions']))
    },
    async *learn(network, context, teaching) {
      const cut = rebuilt(network)
      const config = configOf(network.sizes)
      const options = { epochs: EPOCHS, learningRate: RATE }
      if (head.task === 'feature-extraction') {
        const lesson = await said(await encode(context.heldIn), context.threads)
        return yield* imitate(cut, { ...source, config, weights: network.weights }, lesson, context, options)
      }
      if (head.task !== 'text-classification')
        return yield* goOn(cut, context, { family: 'encoder', task: head.task, options })
      const learnt = yield* learn(cut, context, {
        // the loop's and the task's options are the same for all families; the network is the encoder
        family: 'transformer',
        options: { ...options, batchSize: 16, average: 0, wordDropout: 0, dropout: 0.1 },
        initial: network.weights,
        ...(teaching.share > 0 && { teacher: await teacherOf(subject, teaching, context.threads) }),
        graph: {
          build: (at, ids, lengths) =>
            encoderLogits(at, { ids, lengths }, config, labels.length, { tuning: { mode: 'full' }, dropout: 0.1 }),
          served: (weights) => encoderModel(config, head, weights),
        },
      })
      return learnt === cut ? cut : withModel(cut, learnt.model)
    },
  }
}
