import { mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { keptBy, type Optimizer } from '../autograd/optimizers.ts'
import type { Parameter } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import { writeBundle } from '../bundle/bundle.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import { countParameters } from '../nn/families.ts'
import { blockSize } from './block.ts'
import { readCheckpoint, type Weights, writeCheckpoint } from './checkpoint.ts'
import type { TrainEvent } from './events.ts'
import { familyOf, optionsOf, type TrainJob, type TrainResult } from './job.ts'
import type { Learner, Task } from './learner.ts'
import { assertFits } from './memory.ts'
import { defaultEpochs, type Options } from './options.ts'
import { Pulse } from './pulse.ts'
import { schedules } from './schedule.ts'
import { TrainingSession, waysOf } from './session.ts'
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

/** What is said of a bundle beside what its training knows. */
export interface Extra {
  metrics?: Metrics
  lineage?: Partial<Manifest['lineage']>
}

/** Why `advance` came back: training is over, an epoch was reached, or it was told to stop. */
export type Halt = 'done' | 'paused' | 'stopped'

/**
 * A training run under way: a learner, a session with its weights, and how far it has come. What it has done is on disk at
 * every checkpoint, so that it can be closed and opened again and goes on with the same batches and masks.
 */
export class Training {
  readonly learner: Learner
  readonly epochs: number
  readonly #job: TrainJob
  readonly #options: Options
  readonly #session: TrainingSession
  readonly #progress: Progress
  readonly #clock: Clock
  #closed: Promise<void> | undefined

  private constructor(
    job: TrainJob,
    options: Options,
    learner: Learner,
    epochs: number,
    session: TrainingSession,
    progress: Progress,
  ) {
    this.#job = job
    this.#options = options
    this.learner = learner
    this.epochs = epochs
    this.#session = session
    this.#progress = progress
    this.#clock = new Clock(progress.seconds)
  }

  /** Has the task prepare the data, and takes up the last checkpoint where there is one. Throws TRAINING_MEMORY. */
  static async *open(job: TrainJob, open?: Task['open']): AsyncGenerator<TrainEvent, Training> {
    const { spec, folder } = job
    const seed = spec.seed ?? 1
    const { name, family, task } = familyOf(spec)
    const options = optionsOf(spec)
    const number = (name: string) => Number(options[name])
    mkdirSync(folder, { recursive: true })
    yield { type: 'state', state: 'preparing' }
    const threads = options.threads === null ? Math.min(8, availableParallelism()) : number('threads')
    const learner = yield* (open ?? tasks[task].open)({ job, name, family, options, seed, threads })
    const epochs = options.epochs === null ? defaultEpochs(learner.rows) : number('epochs')
    const decays = decayingBy(String(options.decayOf))
    const [optimizer, average, batchSize] = [options.optimizer as Optimizer, number('average'), number('batchSize')]
    const ways = waysOf(learner.graph, { threads, batchSize })
    const { resident: memory, planned } = assertFits(learner, {
      ways,
      kept: 1 + keptBy(optimizer, average > 0).length,
      block: await blockSize(),
    })
    const session = await TrainingSession.create(learner.graph, {
      optimizer,
      weightDecay: number('weightDecay'),
      clipNorm: number('clipNorm'),
      average,
      ...(decays && { decays }),
      seed,
      threads,
      batchSize,
      planned,
    })
    if (learner.initial) session.restore(learner.initial, 0)
    const parameters = countParameters(learner.graph.parameters)
    yield { type: 'model', family: name, parameters, threads, memory, options: { ...options, epochs, threads } }
    const progress = { epoch: 0, batch: 0, step: 0, bestScore: 0, bestEpoch: -1, seconds: 0, lossSum: 0, lossSteps: 0 }
    const saved = readCheckpoint<Progress>(join(folder, CHECKPOINT))
    if (saved) {
      session.restore(saved.weights, saved.state.step)
      Object.assign(progress, saved.state)
    }
    return new Training(job, options, learner, epochs, session, progress)
  }

  /** The best score so far on the validation split, and seconds of work so far; undefined before the first epoch's end. */
  get standing(): { score: number; epoch: number; seconds: number } | undefined {
    const { bestEpoch, bestScore } = this.#progress
    return bestEpoch < 0 ? undefined : { score: bestScore, epoch: bestEpoch, seconds: this.#clock.seconds() }
  }

  /** Goes on until the end, epoch `until`, or a request to stop; throws LOSS_NOT_FINITE. */
  async *advance(stop: AbortSignal, until = this.epochs): AsyncGenerator<TrainEvent, Halt> {
    const { learner, epochs } = this
    const progress = this.#progress
    const number = (name: string) => Number(this.#options[name])
    const accumulate = number('accumulate')
    const stepsPerEpoch = Math.ceil(learner.batches(0).length / accumulate)
    const limit = this.#options.maxSteps === null ? Number.POSITIVE_INFINITY : number('maxSteps')
    const steps = Math.min(limit, stepsPerEpoch * epochs)
    const schedule = schedules[this.#options.schedule as keyof typeof schedules]
    const rateAt = (step: number) => number('learningRate') * schedule(step, steps, number('warmup'))
    const pulse = new Pulse()
    let lastCheckpoint = performance.now()
    for (; progress.epoch < epochs && progress.step < steps; ) {
      const { epoch } = progress
      if (epoch >= until) return 'paused'
      const batches = learner.batches(epoch)
      while (progress.batch < batches.length && progress.step < steps) {
        if (stop.aborted) {
          this.#checkpoint(progress)
          return 'stopped'
        }
        const taken = batches.slice(progress.batch, progress.batch + accumulate)
        const rate = rateAt(progress.step)
        const given = taken.map((rows) => learner.assemble(rows, epoch))
        const { loss, gradientNorm } = await this.#session.train(given, rate)
        // weights that met such a gradient are lost: they must not reach a checkpoint
        if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) throw this.#lost(loss, gradientNorm)
        progress.batch += taken.length
        progress.step++
        progress.lossSum += loss
        progress.lossSteps++
        pulse.beat(loss, given)
        if (pulse.due || progress.batch >= batches.length) {
          const eta = (this.#clock.seconds() / progress.step) * (steps - progress.step)
          const at = { step: progress.step, steps, epoch: epoch + 1, epochs }
          yield { type: 'step', ...at, learningRate: rate, ...pulse.read(), eta }
          // the event loop gets its turn: a request to stop must be heard
          await new Promise((resolve) => setImmediate(resolve))
        }
        if (performance.now() - lastCheckpoint >= CHECKPOINT_EVERY * 1000) {
          this.#checkpoint(progress)
          lastCheckpoint = performance.now()
          yield { type: 'checkpoint', step: progress.step }
        }
      }
      yield* this.#validate(epoch)
      const over = epoch - progress.bestEpoch >= number('patience')
      Object.assign(progress, { epoch: over ? epochs : epoch + 1, batch: 0, lossSum: 0, lossSteps: 0 })
      this.#checkpoint(progress)
      lastCheckpoint = performance.now()
      pulse.reset()
    }
    return 'done'
  }

  /** Takes weights that were learnt elsewhere for its best, and validates them. */
  async *take(weights: Weights): AsyncGenerator<TrainEvent, Halt> {
    yield* this.#validate(this.epochs - 1, weights)
    return 'done'
  }

  /** The best weights so far; undefined before the first epoch's end. */
  best(): { weights: Weights; metrics: Metrics } | undefined {
    return bestIn(this.#job.folder)
  }

  /** Measures the best weights on the held-out split and writes the bundle, with what else is to be said of both. */
  async *conclude(more: Extra = {}): AsyncGenerator<TrainEvent, TrainResult> {
    const { learner } = this
    const { spec, folder, run, from } = this.#job
    await this.close()
    yield { type: 'state', state: 'evaluating' }
    const best = this.best()!
    const held = await learner.evaluate(best.weights, 'test')
    const { metric } = learner.chosenBy
    const metrics: Metrics = {
      ...held.metrics,
      rows: held.rows,
      [`validation${metric[0].toUpperCase()}${metric.slice(1)}`]: best.metrics[metric],
      trainingSeconds: Number(this.#clock.seconds().toFixed(2)),
      ...more.metrics,
    }
    const bundle = join(folder, 'bundle')
    const { manifest, files } = await learner.bundle(best.weights)
    const { dataset, ...described } = manifest
    const options = { ...this.#options, epochs: this.epochs }
    const made = {
      ...(dataset && { dataset }),
      run,
      ...(from && { parent: from.ref }),
      code,
      seed: spec.seed ?? 1,
      options,
    }
    const lineage = { ...made, ...more.lineage }
    const createdAt = new Date().toISOString()
    const format = { format: 'athanor-bundle', formatVersion: 1 } as const
    await writeBundle(bundle, { ...format, ...described, metrics, lineage, createdAt }, files)
    return { bundle, metrics, seconds: this.#clock.seconds() }
  }

  /** Gives threads and memory back; what was done since the last checkpoint is forgotten. May be called again. */
  async close() {
    this.#closed ??= this.#session.close()
    await this.#closed
  }

  async *#validate(epoch: number, weights = this.#session.averages()): AsyncGenerator<TrainEvent> {
    const progress = this.#progress
    const { metric, better } = this.learner.chosenBy
    const { metrics } = await this.learner.evaluate(weights, 'validation')
    const score = metrics[metric]
    const best =
      progress.bestEpoch < 0 || (better === 'higher' ? score > progress.bestScore : score < progress.bestScore)
    if (best) {
      Object.assign(progress, { bestScore: score, bestEpoch: epoch })
      writeCheckpoint(join(this.#job.folder, BEST), weights, { epoch, metrics })
    }
    const loss = progress.lossSum / Math.max(1, progress.lossSteps)
    yield { type: 'epoch', epoch: epoch + 1, epochs: this.epochs, loss, validation: metrics, best }
    const { learner } = this
    if (learner.sample) yield { type: 'sample', epoch: epoch + 1, text: await learner.sample(weights, epoch) }
  }

  #checkpoint(progress: Progress) {
    progress.seconds = this.#clock.seconds()
    writeCheckpoint(join(this.#job.folder, CHECKPOINT), this.#session.state(), progress)
  }

  #lost(loss: number, gradientNorm: number) {
    const saved = readCheckpoint<Progress>(join(this.#job.folder, CHECKPOINT))
    const checkpoint = saved ? `${CHECKPOINT} of step ${saved.state.step}` : 'no checkpoint, it was too early for one'
    const value = Number.isFinite(loss) ? `${loss} with a gradient of ${gradientNorm}` : String(loss)
    return fail('LOSS_NOT_FINITE', { loss: value, step: this.#progress.step + 1, checkpoint })
  }
}

const CHECKPOINT = 'checkpoint.safetensors'
const BEST = 'best.safetensors'

/** The best weights of the training in a folder; undefined before its first epoch's end. */
export function bestIn(folder: string): { weights: Weights; metrics: Metrics } | undefined {
  const saved = readCheckpoint<{ metrics: Metrics }>(join(folder, BEST))
  return saved && { weights: saved.weights, metrics: saved.state.metrics }
}

/** Which parameters decay, by a pattern for their paths; undefined where the network says. Throws OPTION_INVALID. */
function decayingBy(pattern: string): ((parameter: Parameter) => boolean) | undefined {
  if (pattern === '') return undefined
  try {
    const expression = new RegExp(pattern, 'u')
    return ({ name }) => expression.test(name)
  } catch {
    throw fail('OPTION_INVALID', { option: 'decayOf', reason: `"${pattern.slice(0, 80)}" is no regular expression` })
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
