import { trainingGraph } from '../autograd/training.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../formats/huggingface/folder.ts'
import { directionLoss, encoderModel } from '../nn/encoders.ts'
import { epochBatches } from '../train/batches.ts'
import type { Weights } from '../train/checkpoint.ts'
import type { TrainEvent } from '../train/events.ts'
import type { Learner } from '../train/learner.ts'
import type { Options } from '../train/options.ts'
import { type Directed, directedBatch, pointed } from './directions.ts'
import { goOn } from './learn.ts'
import type { PassContext } from './pass.ts'
import type { Subject } from './subject.ts'

/** A tenth of the texts tells when to stop. */
const CHOOSING = 10

/**
 * Trains an encoder to point where the vectors of texts point: the cosine with given ones becomes as large as can be
 * (Reimers & Gurevych 2020). The weights are those of `encoder` to begin with, a smaller one than the vectors came from.
 */
export async function* imitate(
  cut: Subject,
  encoder: PublishedEncoder,
  lesson: Directed,
  context: PassContext,
  options: Options,
): AsyncGenerator<TrainEvent, Subject> {
  const { config, head } = encoder
  const pooling = head.task === 'feature-extraction' ? head.pooling : 'mean'
  const rows = [...lesson.ids.keys()]
  const [chosen, train] = [rows.filter((row) => row % CHOOSING === 0), rows.filter((row) => row % CHOOSING !== 0)]
  const lengths = { rows: train.length, length: (row: number) => lesson.ids[train[row]].length }
  return yield* goOn(
    cut,
    context,
    { family: 'encoder', task: 'feature-extraction', options },
    async function* (opened): AsyncGenerator<TrainEvent, Learner> {
      const { options: given, seed, threads } = opened
      yield { type: 'data', report: { splits: { train: train.length, validation: chosen.length } } }
      return {
        graph: trainingGraph((network) => directionLoss(network, config, pooling)),
        initial: encoder.weights,
        rows: train.length,
        batches: (epoch) => epochBatches(lengths, Number(given.batchSize), seed, epoch),
        assemble: (picked) =>
          directedBatch(
            lesson,
            picked.map((row) => train[row]),
          ),
        async evaluate(weights: Weights) {
          const model = encoderModel(config, { task: 'feature-extraction', pooling, unit: true }, weights)
          const ids = chosen.map((row) => lesson.ids[row])
          const { vectors } = await pointed(model, ids, lesson.padding, threads)
          const width = vectors.length / ids.length
          let sum = 0
          chosen.forEach((row, r) => {
            for (let i = 0; i < width; i++) sum += vectors[r * width + i] * lesson.vectors[row * width + i]
          })
          return { metrics: { cosine: sum / Math.max(1, chosen.length) }, rows: chosen.length }
        },
        chosenBy: { metric: 'cosine', better: 'higher' },
        bundle: async (weights) => bundleEncoder({ ...encoder, weights }),
      }
    },
  )
}
