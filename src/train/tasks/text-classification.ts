import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { trainingGraph } from '../../autograd/training.ts'
import { streamOf, uniformAt } from '../../base/counter.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { openDataset } from '../../data/dataset.ts'
import type { EncodedSplit } from '../../data/encoded.ts'
import type { PipelineConfig, TextPipeline } from '../../data/pipeline.ts'
import { openPrepared, type Prepared, type PrepareOptions, prepare, TEXTS } from '../../data/prepare.ts'
import { readSamples, sampleFiles } from '../../data/samples.ts'
import { writeModel } from '../../graph/codec.ts'
import { signatureOf } from '../../graph/signature.ts'
import { classifierInputs, countParameters, inferenceGraph } from '../../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../../nn/family.ts'
import { classifierLoss } from '../../nn/losses.ts'
import { assemble, feedsOf, type Window } from '../assemble.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import type { Weights } from '../checkpoint.ts'
import type { TrainEvent } from '../events.ts'
import type { DataSource, TrainJob } from '../job.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { lessons, type Teacher, taughtLoss, withLessons } from '../lessons.ts'
import { Confusion } from '../metrics.ts'
import { type Options, textOptions } from '../options.ts'
import { classifierReference } from '../reference.ts'

/** Milliseconds between events that tell how far preparing is. */
const REPORT_EVERY = 250

/** One label a text, by a classifier family over token ids. */
export const textClassification: Task = { options: textOptions, open: (context) => openTextClassifier(context) }

/** What a classifier learns from beside its data. */
export interface Learning {
  /** Pipeline and labels of a version that is trained further. */
  readonly known?: { pipeline: TextPipeline; labels: readonly string[] }
  /** Weights to start from. */
  readonly initial?: Weights
  /** Texts that must not be trained on. */
  readonly exclude?: readonly string[]
  readonly teacher?: Teacher
}

/** A learner for texts with one label each, taught by a teacher as well if there is one. */
export async function* openTextClassifier(
  context: TaskContext,
  { known, initial, exclude, teacher }: Learning = {},
): AsyncGenerator<TrainEvent, Learner> {
  const { job, name, options, seed, threads } = context
  const family = context.family as TextFamily
  const more = { ...(known && { known }), ...(exclude && { exclude }), keepTexts: teacher !== undefined }
  const prepared = yield* prepareData(job, options, seed, more)
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { labels, pipeline, train, validation, test = validation } = prepared
  const config: ClassifierConfig = { ...options, vocabulary: pipeline.vocabularySize, classes: labels.length }
  const trained = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const target = network.graph.input('labels', 'int64', ['batch'])
    const logits = family.build(network, ids, lengths, config)
    const own = classifierLoss(logits, target)
    if (!teacher) return own
    return taughtLoss(own, logits, network.graph.input('teacher', 'float32', ['batch', labels.length]), teacher)
  })
  const taught = teacher && (yield* lessons(teacher, join(job.folder, 'data', TEXTS), train.rows, labels.length))
  return {
    graph: trained,
    ...(initial && { initial }),
    rows: train.rows,
    batches: (epoch) => epochBatches(train, Number(options.batchSize), seed, epoch),
    assemble(rows, epoch) {
      const batch = assemble(train, rows, options.crop === true ? cropping(seed, epoch) : undefined)
      return taught ? withLessons(batch, rows, taught, labels.length) : batch
    },
    async evaluate(weights, part) {
      const split = part === 'test' ? test : validation
      return { metrics: await evaluateWeights(family, config, weights, split, labels, threads), rows: split.rows }
    },
    chosenBy: { metric: 'accuracy', better: 'higher' },
    async bundle(weights) {
      const graph = inferenceGraph(family, config, weights)
      const model = writeModel(graph)
      const samples = samplesIn(join(job.folder, 'data'))
      const held = samples[sampleFiles.heldOut]
      const rows = held ? readSamples(Buffer.from(held).toString('utf8')) : []
      const reference = await classifierReference(model, pipeline, labels, rows, threads)
      return {
        manifest: {
          task: 'text-classification',
          family: name,
          signature: signatureOf(graph),
          labels,
          pipeline: pipeline.config as unknown as Record<string, unknown>,
          parameters: countParameters(trained.parameters),
          profile: prepared.profile as unknown as Record<string, unknown>,
          data: prepared.report as unknown as Record<string, unknown>,
          ...(reference && { reference }),
          dataset: { digest: prepared.digest, source: prepared.report.source, rows: prepared.report.rowsRead },
        },
        files: {
          'model.onnx': model,
          'tokenizer.json': pipeline.tokenizerJson,
          ...samples,
        },
      }
    },
  }
}

/** The sample files that preparing left in a folder. */
const samplesIn = (folder: string): Record<string, Uint8Array> =>
  Object.fromEntries(
    Object.values(sampleFiles)
      .filter((name) => existsSync(join(folder, name)))
      .map((name) => [name, readFileSync(join(folder, name))]),
  )

/** Reads and prepares the data, or opens what an interrupted run prepared; progress goes out as events. */
async function* prepareData(
  job: TrainJob,
  options: Options,
  seed: number,
  more: Pick<PrepareOptions, 'known' | 'exclude' | 'keepTexts'>,
): AsyncGenerator<TrainEvent, Prepared> {
  const folder = join(job.folder, 'data')
  const finished = openPrepared(folder)
  if (finished) return finished
  if (!existsSync(folder)) mkdirSync(folder)
  const { spec } = job
  const read = (source: DataSource) => openDataset(source.path, { ...spec.read, name: source.name })
  const train = await read(job.dataset)
  const validation = job.validation && (await read(job.validation))
  const pipeline = {
    normalise: { unicode: 'NFKC', lowercase: true } as const,
    tokenizer: options.tokenizer as PipelineConfig['tokenizer'] | 'auto',
    vocabulary: Number(options.vocabulary),
    minimumCount: Number(options.minimumCount),
    maxLength: Number(options.maxLength),
  }
  const events: TrainEvent[] = []
  let wake = () => {}
  let last = 0
  const work = prepare(
    {
      train,
      ...(validation && { validation }),
      ...(spec.dropUnlabelled !== undefined && { dropUnlabelled: spec.dropUnlabelled }),
      split: { validation: 0.1, test: validation ? 0 : 0.1, seed },
      pipeline,
      ...more,
      samples: { heldOut: Number(options.heldOutRows), heldIn: Number(options.heldInRows) },
      folder,
    },
    (phase, done, total) => {
      if (performance.now() - last < REPORT_EVERY) return
      last = performance.now()
      events.push({ type: 'progress', phase, done, ...(total !== undefined && { total }) })
      wake()
    },
  ).finally(async () => {
    await Promise.all([train.close(), validation?.close()])
  })
  let settled = false
  const end = work.then(
    () => true,
    () => true,
  )
  while (!settled) {
    while (events.length > 0) yield events.shift()!
    const woken = new Promise<boolean>((resolve) => {
      wake = () => resolve(false)
    })
    settled = await Promise.race([end, woken])
  }
  return work
}

/** A random window of each row: half of the rows whole, the others cut to between 8 tokens and all of them. */
function cropping(seed: number, epoch: number): Window {
  const stream = streamOf(`crop ${epoch}`)
  return (row, length) => {
    const [whether, size, place] = [0, 1, 2].map((i) => uniformAt(seed, stream, 3 * row + i))
    if (whether < 0.5 || length <= 8) return { start: 0, length }
    const taken = Math.floor(8 + size * (length - 8))
    return { start: Math.floor(place * (length - taken + 1)), length: taken }
  }
}

/** Accuracy and macro-F1 of weights on a split, through the graph that will be served. */
async function evaluateWeights(
  family: TextFamily,
  config: ClassifierConfig,
  weights: Weights,
  split: EncodedSplit,
  labels: string[],
  threads: number,
): Promise<Metrics> {
  const session = await ort.InferenceSession.create(writeModel(inferenceGraph(family, config, weights)), {
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
  })
  try {
    const confusion = new Confusion(labels)
    let loss = 0
    for (const rows of evaluationBatches(split, 128)) {
      const batch = assemble(split, rows)
      const { probabilities } = await session.run(feedsOf(batch, ['ids', 'lengths']))
      const values = probabilities.data as Float32Array
      for (let r = 0; r < batch.rows; r++) {
        const row = values.subarray(r * labels.length, (r + 1) * labels.length)
        const truth = split.label(rows[r])
        confusion.add(truth, row.indexOf(Math.max(...row)))
        loss -= Math.log(Math.max(row[truth], 1e-12))
      }
    }
    return { ...confusion.metrics(), loss: loss / split.rows }
  } finally {
    await session.release()
  }
}
