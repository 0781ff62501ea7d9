import { mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import { writeBundle } from '../bundle/bundle.ts'
import type { Metrics } from '../bundle/manifest.ts'
import { countParameters } from '../nn/families.ts'
import { readCheckpoint, writeCheckpoint } from './checkpoint.ts'
import type { TrainEvent } from './events.ts'
import { familyOf, optionsOf, type TrainJob, type TrainResult } from './job.ts'
import type { Task } from './learner.ts'
import { defaultEpochs } from './options.ts'
import { TrainingSession } from './session.ts'
import { tasks } from './tasks.ts'

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
 * Trains a model: has its task prepare the data, takes optimizer steps, validates after each epoch, keeps the best weights
 * and writes a bundle. A run that was interrupted goes on from its last checkpoint with the same batches and masks, so that
 * the result is the one an uninterrupted run would have had. `open` stands in for the task's own way to a learner.
 */
export async function* train(
  job: TrainJob,
  stop: AbortSignal,
  open?: Task['open'],
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const { spec, folder } = job
  const seed = spec.seed ?? 1
  const { name, family } = familyOf(spec)
  const options = optionsOf(spec)
  const number = (name: string) => Number(options[name])
  mkdirSync(folder, { recursive: true })

  yield { type: 'state', state: 'preparing' }
  const threads = options.threads === null ? Math.min(8, availableParallelism()) : number('threads')
  const learner = yield* (open ?? tasks[family.task].open)({ job, name, family, options, seed, threads })
  const epochs = options.epochs === null ? defaultEpochs(learner.rows) : number('epochs')
  const session = await TrainingSession.create(learner.graph, {
    optimizer: options.optimizer as 'adamw' | 'sgd',
    weightDecay: number('weightDecay'),
    clipNorm: number('clipNorm'),
    seed,
    threads,
    batchSize: number('batchSize'),
  })
  const { metric, better } = learner.chosenBy
  if (learner.initial) session.restore(learner.initial, 0)
  const parameters = countParameters(learner.graph.parameters)
  yield { type: 'model', family: name, parameters, threads, options: { ...options, epochs, threads } }

  const [checkpointPath, bestPath] = [join(folder, 'checkpoint.safetensors'), join(folder, 'best.safetensors')]
  const progress: Progress = {
    epoch: 0,
    batch: 0,
    step: 0,
    bestScore: 0,
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
  const perEpoch = learner.batches(0).length
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
    const batches = learner.batches(epoch)
    for (; progress.batch < batches.length; ) {
      if (stop.aborted) {
        checkpoint()
        await session.close()
        return undefined
      }
      const rows = batches[progress.batch]
      const rate = rateAt(progress.step)
      const { loss } = await session.train(learner.assemble(rows, epoch), rate)
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
    const { metrics } = await learner.evaluate(weights, 'validation')
    const score = metrics[metric]
    const best =
      progress.bestEpoch < 0 || (better === 'higher' ? score > progress.bestScore : score < progress.bestScore)
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
    if (learner.sample) yield { type: 'sample', epoch: epoch + 1, text: await learner.sample(weights, epoch) }
    if (epoch - progress.bestEpoch >= number('patience')) break
    const next = { ...progress, epoch: epoch + 1, batch: 0, lossSum: 0, lossSteps: 0, seconds: clock.seconds() }
    writeCheckpoint(checkpointPath, session.state(), next)
    lastCheckpoint = performance.now()
    lastReport = performance.now()
  }
  await session.close()

  yield { type: 'state', state: 'evaluating' }
  const bestWeights = readCheckpoint<{ metrics: Metrics }>(bestPath)!
  const held = await learner.evaluate(bestWeights.weights, 'test')
  const metrics: Metrics = {
    ...held.metrics,
    rows: held.rows,
    [`validation${metric[0].toUpperCase()}${metric.slice(1)}`]: bestWeights.state.metrics[metric],
    trainingSeconds: Number(clock.seconds().toFixed(2)),
  }
  const bundle = join(folder, 'bundle')
  const { manifest, files } = await learner.bundle(bestWeights.weights)
  const { dataset, ...described } = manifest
  const lineage = { ...(dataset && { dataset }), run: job.run, code, seed, options: { ...options, epochs } }
  await writeBundle(
    bundle,
    { format: 'athanor-bundle', formatVersion: 1, ...described, metrics, lineage, createdAt: new Date().toISOString() },
    files,
  )
  return { bundle, metrics, seconds: clock.seconds() }
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
