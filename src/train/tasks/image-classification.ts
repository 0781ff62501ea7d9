import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { trainingGraph } from '../../autograd/training.ts'
import { fail } from '../../base/errors.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { augmentation, type Vary } from '../../data/images/augment.ts'
import { type ImagePipelineConfig, standardise } from '../../data/images/pixels.ts'
import { type ImageSplit, openPreparedImages, type PreparedImages, prepareImages } from '../../data/images/prepare.ts'
import { openImages } from '../../data/images/source.ts'
import { writeModel } from '../../graph/codec.ts'
import { signatureOf } from '../../graph/signature.ts'
import { classifierLoss, countParameters } from '../../nn/families.ts'
import type { ImageFamily } from '../../nn/family.ts'
import { imageInference, pixelsInput } from '../../nn/images.ts'
import type { Batch } from '../batch.ts'
import { epochBatches } from '../batches.ts'
import type { TrainEvent } from '../events.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { Confusion } from '../metrics.ts'
import { imageOptions } from '../options.ts'
import { withProgress } from '../progress.ts'

/** One label an image, by a network over its pixels. */
export const imageClassification: Task = { options: imageOptions, open }

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { name, options, seed, threads } = context
  const family = context.family as ImageFamily
  const prepared = yield* prepareData(context)
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { labels, pipeline, train, validation, test = validation } = prepared
  const config = { ...options, classes: labels.length }
  const graph = trainingGraph((network) => {
    const target = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, pixelsInput(network.graph, pipeline), config), target)
  })
  const size = Math.min(pipeline.height, pipeline.width)
  const vary = { shift: Number(options.shift ?? Math.round(size / 14)), flip: options.flip === true }
  const inference = (weights: Parameters<typeof imageInference>[1]) =>
    imageInference(pipeline, weights, (network, pixels) => family.build(network, pixels, config))
  return {
    graph,
    rows: train.rows,
    batches: (epoch) => epochBatches({ rows: train.rows, length: () => 0 }, Number(options.batchSize), seed, epoch),
    assemble: (rows, epoch) => assemble(train, rows, pipeline, augmentation(vary, pipeline, seed, epoch)),
    async evaluate(weights, part) {
      const split = part === 'test' ? test : validation
      const metrics = await evaluateModel(writeModel(inference(weights)), pipeline, split, labels, threads)
      return { metrics, rows: split.rows }
    },
    chosenBy: { metric: 'accuracy', better: 'higher' },
    async bundle(weights) {
      const model = inference(weights)
      const { report } = prepared
      return {
        manifest: {
          task: 'image-classification',
          family: name,
          signature: signatureOf(model),
          labels,
          pipeline: pipeline as unknown as Record<string, unknown>,
          parameters: countParameters(graph.parameters),
          data: report as unknown as Record<string, unknown>,
          dataset: { digest: prepared.digest, source: report.source, rows: report.rowsRead },
        },
        files: { 'model.onnx': writeModel(model) },
      }
    },
  }
}

/** Reads and prepares the images, or opens what an interrupted run prepared. */
async function* prepareData({ job, options, seed }: TaskContext): AsyncGenerator<TrainEvent, PreparedImages> {
  const folder = join(job.folder, 'data')
  const finished = openPreparedImages(folder)
  if (finished) return finished
  mkdirSync(folder, { recursive: true })
  const { size, channels, fit } = options
  if (channels === 2) throw fail('OPTION_INVALID', { option: 'channels', reason: 'expected 1 or 3, got 2' })
  const train = await openImages(job.dataset.path, job.dataset.name)
  const validation = job.validation && (await openImages(job.validation.path, job.validation.name))
  return yield* withProgress((tell) =>
    prepareImages(
      {
        train,
        ...(validation && { validation }),
        seed,
        ...(size !== null && { size: Number(size) }),
        ...(channels !== null && { channels: channels as 1 | 3 }),
        fit: fit as ImagePipelineConfig['fit'],
        folder,
      },
      (done) => tell('reading', done),
    ),
  )
}

/** The rows of a split as one batch: pixels float32 (rows, channels, height, width), labels int64 (rows). */
function assemble(split: ImageSplit, rows: Int32Array, pipeline: ImagePipelineConfig, vary?: Vary): Batch {
  const { channels, height, width } = pipeline
  const size = channels * height * width
  const data = new Float32Array(rows.length * size)
  rows.forEach((row, i) => {
    const pixels = split.pixels(row)
    standardise(vary ? vary(pixels, row) : pixels, pipeline, data, i * size)
  })
  return {
    tensors: {
      pixels: { type: 'float32', dims: [rows.length, channels, height, width], data },
      labels: { type: 'int64', dims: [rows.length], data: BigInt64Array.from(rows, (row) => BigInt(split.label(row))) },
    },
    rows: rows.length,
    sizes: {},
  }
}

const AT_ONCE = 128

/** Accuracy, macro-F1 and loss of a model on a split. */
async function evaluateModel(
  model: Uint8Array,
  pipeline: ImagePipelineConfig,
  split: ImageSplit,
  labels: readonly string[],
  threads: number,
): Promise<Metrics> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: threads, logSeverityLevel: 3 })
  try {
    const confusion = new Confusion(labels)
    let loss = 0
    for (let start = 0; start < split.rows; start += AT_ONCE) {
      const rows = Int32Array.from({ length: Math.min(AT_ONCE, split.rows - start) }, (_, i) => start + i)
      const { data, dims } = assemble(split, rows, pipeline).tensors.pixels
      const pixels = new ort.Tensor('float32', data as Float32Array, dims)
      const { probabilities } = await session.run({ pixels }, ['probabilities'])
      const values = probabilities.data as Float32Array
      rows.forEach((row, r) => {
        const scores = values.subarray(r * labels.length, (r + 1) * labels.length)
        const truth = split.label(row)
        confusion.add(truth, scores.indexOf(Math.max(...scores)))
        loss -= Math.log(Math.max(scores[truth], 1e-12))
      })
    }
    return { ...confusion.metrics(), loss: loss / split.rows }
  } finally {
    await session.release()
  }
}
