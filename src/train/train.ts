import { existsSync, mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { trainingGraph } from '../autograd/training.ts'
import { streamOf, uniformAt } from '../base/counter.ts'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import { writeBundle } from '../bundle/bundle.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import { openDataset } from '../data/dataset.ts'
import type { EncodedSplit } from '../data/encoded.ts'
import type { PipelineConfig } from '../data/pipeline.ts'
import { openPrepared, type Prepared, prepare } from '../data/prepare.ts'
import { writeModel } from '../graph/codec.ts'
import { signatureOf } from '../graph/signature.ts'
import { classifierInputs, classifierLoss, countParameters, inferenceGraph } from '../nn/families.ts'
import type { ClassifierConfig, Family } from '../nn/family.ts'
import { assemble, type Window } from './assemble.ts'
import { epochBatches, evaluationBatches } from './batches.ts'
import { readCheckpoint, type Weights, writeCheckpoint } from './checkpoint.ts'
import type { TrainEvent } from './events.ts'
import { type DataSource, familyOf, optionsOf, type TrainJob, type TrainResult } from './job.ts'
import { Confusion } from './metrics.ts'
import { defaultEpochs, type Options } from './options.ts'
import { batchTensors, TrainingSession } from './session.ts'

interface Progress {
  epoch: number
  /** Batches of the epoch already done. */
  batch: number
  step: number
  bestScore: number
  bestEpoch: number
  seconds: number
  lossSum: number
  lossSteps: number
}

/** Seconds between checkpoints within an epoch. */
const CHECKPOINT_EVERY = 20
/** Milliseconds between step events. */
const REPORT_EVERY = 250

/**
 * Trains a classifier: prepares the data, takes optimizer steps, validates after each epoch, keeps the best weights and
 * writes a bundle. A run that was interrupted goes on from its last checkpoint with the same batches and masks, so that
 * the result is the one an uninterrupted run would have had.
 */
export async function* train(job: TrainJob, stop: AbortSignal): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const { spec, folder } = job
  const seed = spec.seed ?? 1
  const { name: familyName, family } = familyOf(spec)
  const options = optionsOf(spec)
  const number = (name: string) => Number(options[name])
  mkdirSync(folder, { recursive: true })

  yield { type: 'state', state: 'preparing' }
  const prepared = yield* prepareData(job, options, seed)
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { labels, pipeline } = prepared
  const epochs = options.epochs === null ? defaultEpochs(prepared.train.rows) : number('epochs')
  const threads = options.threads === null ? Math.min(8, availableParallelism()) : number('threads')
  const config: ClassifierConfig = { ...options, vocabulary: pipeline.vocabularySize, classes: labels.length }

  const graph = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const target = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, config), target)
  })
  const batchSize = number('batchSize')
  const session = await TrainingSession.create(graph, {
    optimizer: options.optimizer as 'adamw' | 'sgd',
    weightDecay: number('weightDecay'),
    clipNorm: number('clipNorm'),
    seed,
    threads,
    batchSize,
  })
  const parameters = countParameters(graph.parameters)
  yield { type: 'model', family: familyName, parameters, threads, options: { ...options, epochs, threads } }

  const [checkpointPath, bestPath] = [join(folder, 'checkpoint.safetensors'), join(folder, 'best.safetensors')]
  const progress: Progress = {
    epoch: 0,
    batch: 0,
    step: 0,
    bestScore: -1,
    bestEpoch: -1,
    seconds: 0,
    lossSum: 0,
    lossSteps: 0,
  }
  const saved = readCheckpoint<Progress>(checkpointPath)
  if (saved) {
    session.restore(saved.weights, saved.state.step)
    Object.assign(progress, saved.state)
  }

  yield { type: 'state', state: 'training' }
  const perEpoch = epochBatches(prepared.train, batchSize, seed, 0).length
  const steps = perEpoch * epochs
  const peak = number('learningRate')
  const warmup = Math.max(1, Math.round(number('warmup') * steps))
  const rateAt = (step: number) =>
    peak * Math.min(1, (step + 1) / warmup) * Math.max(0, 1 - Math.max(0, step - warmup) / Math.max(1, steps - warmup))

  const clock = new Clock(progress.seconds)
  let lastReport = performance.now()
  let lastCheckpoint = performance.now()
  let [recent, recentSteps, recentRows] = [0, 0, 0]
  const checkpoint = () => {
    progress.seconds = clock.seconds()
    writeCheckpoint(checkpointPath, session.state(), progress)
    lastCheckpoint = performance.now()
  }

  for (; progress.epoch < epochs; progress.epoch++, progress.batch = 0, progress.lossSum = 0, progress.lossSteps = 0) {
    const { epoch } = progress
    const batches = epochBatches(prepared.train, batchSize, seed, epoch)
    const window = options.crop === true ? cropping(seed, epoch) : undefined
    for (; progress.batch < batches.length; ) {
      if (stop.aborted) {
        checkpoint()
        await session.close()
        return undefined
      }
      const rows = batches[progress.batch]
      const rate = rateAt(progress.step)
      const { loss } = await session.train(assemble(prepared.train, rows, window), rate)
      progress.batch++
      progress.step++
      if (!Number.isFinite(loss)) throw fail('LOSS_NOT_FINITE', { loss: String(loss), step: progress.step })
      progress.lossSum += loss
      progress.lossSteps++
      recent += loss
      recentSteps++
      recentRows += rows.length
      const now = performance.now()
      if (now - lastReport >= REPORT_EVERY || progress.batch === batches.length) {
        const samplesPerSecond = recentRows / ((now - lastReport) / 1000)
        const eta = (clock.seconds() / progress.step) * (steps - progress.step)
        const at = { step: progress.step, steps, epoch: epoch + 1, epochs }
        yield { type: 'step', ...at, loss: recent / recentSteps, learningRate: rate, samplesPerSecond, eta }
        ;[recent, recentSteps, recentRows, lastReport] = [0, 0, 0, now]
        // the event loop gets its turn: a request to stop must be heard
        await new Promise((resolve) => setImmediate(resolve))
      }
      if (now - lastCheckpoint >= CHECKPOINT_EVERY * 1000) {
        checkpoint()
        yield { type: 'checkpoint', step: progress.step }
      }
    }
    const weights = session.parameters()
    const { metrics } = await evaluateWeights(family, config, weights, prepared.validation, labels, threads)
    const score = metrics.accuracy
    const best = score > progress.bestScore
    if (best) {
      Object.assign(progress, { bestScore: score, bestEpoch: epoch })
      writeCheckpoint(bestPath, weights, { epoch, metrics })
    }
    yield {
      type: 'epoch',
      epoch: epoch + 1,
      epochs,
      loss: progress.lossSum / progress.lossSteps,
      validation: metrics,
      best,
    }
    if (epoch - progress.bestEpoch >= number('patience')) break
    const next = { ...progress, epoch: epoch + 1, batch: 0, lossSum: 0, lossSteps: 0, seconds: clock.seconds() }
    writeCheckpoint(checkpointPath, session.state(), next)
    lastCheckpoint = performance.now()
    lastReport = performance.now()
  }
  await session.close()

  yield { type: 'state', state: 'evaluating' }
  const bestWeights = readCheckpoint<{ metrics: Metrics }>(bestPath)!
  const held = prepared.test ?? prepared.validation
  const { metrics } = await evaluateWeights(family, config, bestWeights.weights, held, labels, threads)
  const seconds = clock.seconds()
  const all: Metrics = {
    ...metrics,
    rows: held.rows,
    validationAccuracy: bestWeights.state.metrics.accuracy,
    trainingSeconds: Number(seconds.toFixed(2)),
  }
  const bundle = join(folder, 'bundle')
  const model = inferenceGraph(family, config, bestWeights.weights)
  const manifest: Manifest = {
    format: 'athanor-bundle',
    formatVersion: 1,
    task: 'text-classification',
    family: familyName,
    signature: signatureOf(model),
    labels,
    pipeline: pipeline.config as unknown as Record<string, unknown>,
    parameters,
    metrics: all,
    profile: prepared.profile as unknown as Record<string, unknown>,
    data: prepared.report as unknown as Record<string, unknown>,
    lineage: {
      dataset: { digest: prepared.digest, source: prepared.report.source, rows: prepared.report.rowsRead },
      run: job.run,
      code,
      seed,
      options: { ...options, epochs },
    },
    createdAt: new Date().toISOString(),
  }
  await writeBundle(bundle, manifest, { 'model.onnx': writeModel(model), 'tokenizer.json': pipeline.tokenizerJson })
  return { bundle, metrics: all }
}

/** Reads and prepares the data, or opens what an interrupted run prepared; progress goes out as events. */
async function* prepareData(job: TrainJob, options: Options, seed: number): AsyncGenerator<TrainEvent, Prepared> {
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
  family: Family,
  config: ClassifierConfig,
  weights: Weights,
  split: EncodedSplit,
  labels: string[],
  threads: number,
) {
  const session = await ort.InferenceSession.create(writeModel(inferenceGraph(family, config, weights)), {
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
  })
  try {
    const confusion = new Confusion(labels)
    let loss = 0
    for (const rows of evaluationBatches(split, 128)) {
      const batch = assemble(split, rows)
      const { probabilities } = await session.run(batchTensors(batch))
      const values = probabilities.data as Float32Array
      for (let r = 0; r < batch.rows; r++) {
        const row = values.subarray(r * labels.length, (r + 1) * labels.length)
        const truth = Number(batch.labels[r])
        confusion.add(truth, row.indexOf(Math.max(...row)))
        loss -= Math.log(Math.max(row[truth], 1e-12))
      }
    }
    const metrics: Metrics = { ...confusion.metrics(), loss: loss / split.rows }
    return { metrics }
  } finally {
    await session.release()
  }
}

/** Seconds of work, those of earlier attempts included. */
class Clock {
  readonly #before: number
  readonly #start = performance.now()
  constructor(before: number) {
    this.#before = before
  }
  seconds(): number {
    return this.#before + (performance.now() - this.#start) / 1000
  }
}
