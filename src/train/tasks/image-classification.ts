import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Around } from '../../autograd/imported.ts'
import { type TrainingGraph, trainingGraph } from '../../autograd/training.ts'
import { fail } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { augmentation, type Vary } from '../../data/images/augment.ts'
import { type ImagePipelineConfig, standardise } from '../../data/images/pixels.ts'
import { type ImageSplit, openPreparedImages, type PreparedImages, prepareImages } from '../../data/images/prepare.ts'
import { openImages } from '../../data/images/source.ts'
import { imageMeasures, type Measured } from '../../drift/measures.ts'
import { measuredReference } from '../../drift/reference.ts'
import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { signatureOf } from '../../graph/signature.ts'
import { countParameters } from '../../nn/families.ts'
import type { ImageFamily } from '../../nn/family.ts'
import { imageInference, pixelsInput } from '../../nn/images.ts'
import { classifierLoss } from '../../nn/losses.ts'
import type { Batch } from '../batch.ts'
import { epochBatches } from '../batches.ts'
import type { Weights } from '../checkpoint.ts'
import type { TrainEvent } from '../events.ts'
import { countStored } from '../graph.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { Confusion } from '../metrics.ts'
import { openMeasured } from '../opened.ts'
import { imageOptions, type Options } from '../options.ts'
import { withProgress } from '../progress.ts'
import { openImageGraph } from './image-graph.ts'

/** One label an image, by a network over its pixels. */
export const imageClassification: Task = { options: imageOptions, open: (context) => openImageClassifier(context) }

/** A network of images: how it is trained, and the graph that is served with given weights. */
export interface ImageNetwork {
  readonly graph: TrainingGraph
  readonly initial?: Weights
  inference(weights: Weights): ModelProto
}

/** A learner for images; `around` says what is made of nodes of an imported graph in training. */
export async function* openImageClassifier(context: TaskContext, around?: Around): AsyncGenerator<TrainEvent, Learner> {
  const { name, family, options, seed, threads } = context
  const imported = 'imported' in family ? await openImageGraph(context, around) : undefined
  const prepared = yield* prepareData(context, imported?.wants)
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { labels, pipeline, train, validation, test = validation } = prepared
  const network = imported ? imported.network(pipeline, labels) : built(family as ImageFamily, prepared, options)
  const { graph, initial } = network
  const size = Math.min(pipeline.height, pipeline.width)
  const vary = { shift: Number(options.shift ?? Math.round(size / 14)), flip: options.flip === true }
  return {
    graph,
    ...(initial && { initial }),
    rows: train.rows,
    batches: (epoch) => epochBatches({ rows: train.rows, length: () => 0 }, Number(options.batchSize), seed, epoch),
    assemble: (rows, epoch) => assemble(train, rows, pipeline, augmentation(vary, pipeline, seed, epoch)),
    async evaluate(weights, part) {
      const split = part === 'test' ? test : validation
      const metrics = await evaluateModel(writeModel(network.inference(weights)), pipeline, split, labels, threads)
      return { metrics, rows: split.rows }
    },
    chosenBy: { metric: 'accuracy', better: 'higher' },
    async bundle(weights) {
      const model = network.inference(weights)
      const { report } = prepared
      const seen: (Measured & { right: boolean })[] = []
      await evaluateModel(writeModel(model), pipeline, test, labels, threads, (row) => seen.push(row))
      const reference = measuredReference(seen)
      return {
        manifest: {
          task: 'image-classification',
          family: name,
          signature: signatureOf(model),
          labels,
          pipeline: pipeline as unknown as Record<string, unknown>,
          parameters: imported ? countStored(model) : countParameters(graph.parameters),
          data: report as unknown as Record<string, unknown>,
          ...(reference && { reference }),
          dataset: { digest: prepared.digest, source: report.source, rows: report.rowsRead },
        },
        files: { 'model.onnx': writeModel(model) },
      }
    },
  }
}

function built(family: ImageFamily, { pipeline, labels }: PreparedImages, options: Options): ImageNetwork {
  const config = { ...options, classes: labels.length }
  return {
    graph: trainingGraph((network) => {
      const target = network.graph.input('labels', 'int64', ['batch'])
      return classifierLoss(family.build(network, pixelsInput(network.graph, pipeline), config), target)
    }),
    inference: (weights) =>
      imageInference(pipeline, weights, (network, pixels) => family.build(network, pixels, config)),
  }
}

/** What a network that was trained before expects of images. */
export interface ImageWants {
  size?: { height: number; width: number }
  channels: 1 | 3
  fit?: ImagePipelineConfig['fit']
  scale?: { mean: number[]; deviation: number[] }
}

/** Reads and prepares the images, or opens what an interrupted run prepared. */
async function* prepareData(
  { job, options, seed }: TaskContext,
  wants: ImageWants | undefined,
): AsyncGenerator<TrainEvent, PreparedImages> {
  const folder = join(job.folder, 'data')
  const finished = openPreparedImages(folder)
  if (finished) return finished
  mkdirSync(folder, { recursive: true })
  const { channels } = options
  if (channels === 2) throw fail('OPTION_INVALID', { option: 'channels', reason: 'expected 1 or 3, got 2' })
  const side = options.size === null ? undefined : { height: Number(options.size), width: Number(options.size) }
  const asked = {
    ...(side && { size: side }),
    ...(channels !== null && { channels: channels as 1 | 3 }),
    fit: options.fit as ImagePipelineConfig['fit'],
  }
  const train = await openImages(job.dataset.path, job.dataset.name)
  const validation = job.validation && (await openImages(job.validation.path, job.validation.name))
  return yield* withProgress((tell) =>
    prepareImages({ train, ...(validation && { validation }), seed, ...asked, ...wants, folder }, (done) =>
      tell('reading', done),
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

/** Images measured at once: no more than a usual batch of training, so that it takes no more memory. */
const AT_ONCE = 32

/** Accuracy, macro-F1 and loss of a model on a split; `saw` is told of each image. */
async function evaluateModel(
  model: Uint8Array,
  pipeline: ImagePipelineConfig,
  split: ImageSplit,
  labels: readonly string[],
  threads: number,
  saw?: (row: Measured & { right: boolean }) => void,
): Promise<Metrics> {
  const session = await openMeasured(model, threads)
  try {
    const confusion = new Confusion(labels)
    let loss = 0
    for (let start = 0; start < split.rows; start += AT_ONCE) {
      const rows = Int32Array.from({ length: Math.min(AT_ONCE, split.rows - start) }, (_, i) => start + i)
      const { data, dims } = assemble(split, rows, pipeline).tensors.pixels
      const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', data as Float32Array, dims) }
      const { probabilities } = await session.run(feeds, ['probabilities'])
      const values = probabilities.data as Float32Array
      rows.forEach((row, r) => {
        const scores = values.subarray(r * labels.length, (r + 1) * labels.length)
        const truth = split.label(row)
        const chosen = scores.indexOf(Math.max(...scores))
        confusion.add(truth, chosen)
        saw?.({
          measures: imageMeasures(split.pixels(row), pipeline.channels),
          probabilities: scores.slice(),
          right: chosen === truth,
        })
        loss -= Math.log(Math.max(scores[truth], 1e-12))
      })
    }
    return { ...confusion.metrics(), loss: loss / split.rows }
  } finally {
    await session.release()
  }
}
