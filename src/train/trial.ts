import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { asAthanorError, fail } from '../base/errors.ts'
import { writeWhole } from '../base/whole.ts'
import { type Cleaned, clean, openCleaned } from '../data/cleaned.ts'
import { charactersFor } from '../data/prepare.ts'
import type { TextFamily } from '../nn/family.ts'
import { meanOf, memberScope } from '../nn/mean.ts'
import type { Weights } from './checkpoint.ts'
import type { TrainEvent, TrialReport } from './events.ts'
import { familyOf, optionsOf, type TrainJob } from './job.ts'
import type { Task } from './learner.ts'
import type { Options } from './options.ts'
import { openSources, partingOf, wishOf } from './prepared.ts'
import { problemOf } from './problem.ts'
import { withProgress } from './progress.ts'
import { textClassification } from './tasks/text-classification.ts'
import { bestIn, type Extra, type Halt, Training } from './training.ts'

/** A trial with what choosing needs beside what is told of it. */
export interface Trial extends TrialReport {
  score?: number
  /** Scores by epoch, for comparison with others at the same epoch. */
  scores: number[]
  /** Epochs that it would have in all. */
  planned?: number
  /** The trials whose mean it is, by number; it learns nothing of its own. */
  members?: number[]
}

/** Most tokens of a text that any trial can look at. */
const LONGEST = 1024

/**
 * The trainings of one run that share cleaned data and of which one is chosen. All that is known of them is on disk, each
 * with its checkpoint in a folder of its own: a run that was killed goes on where it was.
 */
export class Trials {
  readonly cleaned: Cleaned
  readonly list: Trial[]
  /** Seconds spent in earlier attempts at this run. */
  readonly #before: number
  readonly #start = performance.now()
  readonly #job: TrainJob
  /** By which figure, and whether less of it is better; known after the first training was opened. */
  metric = ''
  better: 'higher' | 'lower' = 'higher'
  /** How many rounds are over, where trials come in rounds. */
  rounds = 0

  private constructor(job: TrainJob, cleaned: Cleaned, list: Trial[], seconds: number) {
    this.#job = job
    this.cleaned = cleaned
    this.list = list
    this.#before = seconds
  }

  /** Reads and cleans the data, or takes up what is there. */
  static async *open(job: TrainJob): AsyncGenerator<TrainEvent, Trials> {
    const folder = dataFolder(job)
    mkdirSync(folder, { recursive: true })
    yield { type: 'state', state: 'preparing' }
    const cleaned = openCleaned(folder) ?? (yield* cleanSources(job, folder))
    const path = join(job.folder, FILE)
    const saved = existsSync(path)
      ? (JSON.parse(readFileSync(path, 'utf8')) as Pick<Trials, 'list' | 'seconds' | 'metric' | 'better' | 'rounds'>)
      : undefined
    // what cannot be split fails before anything is trained
    partingOf(job, cleaned, job.spec.seed ?? 1)
    const trials = new Trials(job, cleaned, saved?.list ?? [], saved?.seconds ?? 0)
    if (saved) Object.assign(trials, { metric: saved.metric, better: saved.better, rounds: saved.rounds })
    return trials
  }

  /** Seconds that this run has taken so far. */
  get seconds(): number {
    return this.#before + (performance.now() - this.#start) / 1000
  }

  get folder(): string {
    return dataFolder(this.#job)
  }

  add(family: string, options: Options, reason?: string, members?: number[]): Trial {
    const trial: Trial = {
      trial: this.list.length + 1,
      family,
      options,
      state: 'waiting',
      epochs: 0,
      minutes: 0,
      scores: [],
      ...(reason !== undefined && { reason }),
      ...(members && { members }),
    }
    this.list.push(trial)
    this.save()
    return trial
  }

  /** Adds the mean of the best two trials that cut texts alike; undefined where there are none. */
  addMean(): Trial | undefined {
    const best = this.ranked().filter(({ state }) => state !== 'dropped')
    const cut = (trial: Trial) => JSON.stringify(wishOf(optionsOf(this.jobOf(trial).spec)))
    for (const [at, one] of best.entries()) {
      const other = best.slice(at + 1).find((trial) => cut(trial) === cut(one))
      if (!other) continue
      const reason = `the mean of what trials ${one.trial} and ${other.trial} answer, which cut texts alike`
      return this.add(`${one.family}+${other.family}`, {}, reason, [one.trial, other.trial])
    }
    return undefined
  }

  save() {
    const { list, seconds, metric, better, rounds } = this
    writeWhole(join(this.#job.folder, FILE), JSON.stringify({ list, seconds, metric, better, rounds }))
  }

  /** The trials with a score, best first; the earlier of equals. */
  ranked(among: readonly Trial[] = this.list): Trial[] {
    const sign = this.better === 'higher' ? -1 : 1
    return among
      .filter(({ score }) => score !== undefined)
      .toSorted((a, b) => sign * (a.score! - b.score!) || a.trial - b.trial)
  }

  jobOf({ family, options, trial }: Trial): TrainJob {
    const { model: _model, search: _search, folds: _folds, budget: _budget, ...spec } = this.#job.spec
    const own = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null))
    return {
      ...this.#job,
      spec: { ...spec, family, options: own as NonNullable<typeof spec.options> },
      folder: join(this.#job.folder, `trial-${trial}`),
      cleaned: this.folder,
    }
  }

  /** Removes what a trial left on disk; its figures stay. */
  forget({ trial }: Trial) {
    rmSync(join(this.#job.folder, `trial-${trial}`), { recursive: true, force: true })
  }

  /** Drops a trial and what it left on disk. */
  drop(trial: Trial, reason: string): TrainEvent {
    Object.assign(trial, { state: 'dropped', reason })
    this.forget(trial)
    this.save()
    return { type: 'trial', trial: report(trial) }
  }

  /**
   * Trains on to an epoch, or until `stop` or `over` says that it has had its time; `keepOn` is asked after each epoch.
   * A trial that fails is dropped with its reason.
   */
  async *advance(
    trial: Trial,
    until: number | ((epochs: number) => number),
    signals: { stop: AbortSignal; over?: AbortSignal; keepOn?: (trial: Trial) => boolean },
  ): AsyncGenerator<TrainEvent, Halt | 'failed'> {
    const { stop, over, keepOn = () => true } = signals
    const early = new AbortController()
    const all = AbortSignal.any([stop, early.signal, ...(over ? [over] : [])])
    trial.state = 'running'
    yield { type: 'trial', trial: report(trial) }
    const began = performance.now()
    let training: Training | undefined
    try {
      training = yield* this.#open(trial)
      const { metric, better } = training.learner.chosenBy
      Object.assign(this, { metric, better })
      trial.planned = training.epochs
      const steps = trial.members
        ? training.take(this.#weightsOf(this.#membersOf(trial)))
        : training.advance(all, typeof until === 'number' ? until : until(training.epochs))
      let next = await steps.next()
      for (; !next.done; next = await steps.next()) {
        const event = next.value
        if (event.type === 'step' || event.type === 'checkpoint') yield event
        if (event.type !== 'epoch') continue
        trial.epochs = event.epoch
        trial.scores[event.epoch - 1] = event.validation[metric]
        const standing = training.standing!
        trial.score = standing.score
        if (event.best) trial.metrics = event.validation
        trial.minutes = standing.seconds / 60
        this.save()
        yield { type: 'trial', trial: report(trial) }
        if (!keepOn(trial)) early.abort()
      }
      trial.minutes = Math.max(trial.minutes, (performance.now() - began) / 60_000)
      const best = training.best()
      if (best && training.learner.latency) trial.latency ??= await training.learner.latency(best.weights)
      trial.state = next.value === 'done' ? 'done' : 'paused'
      this.save()
      yield { type: 'trial', trial: report(trial) }
      return next.value
    } catch (error) {
      const { code, message } = asAthanorError(error)
      if (code === 'INTERNAL' || code === 'DISK_FULL') throw error
      yield this.drop(trial, message)
      return 'failed'
    } finally {
      await training?.close()
    }
  }

  /** Measures the chosen trial on what nothing was chosen by, and writes its bundle with the table of all; throws SELECTION_EMPTY. */
  async *conclude(chosen: Trial | undefined, extra: Extra = {}) {
    if (!chosen) throw fail('SELECTION_EMPTY', { reason: this.list.at(-1)?.reason ?? 'there was none' })
    const training = yield* this.#open(chosen)
    try {
      chosen.state = 'chosen'
      this.save()
      const trials = this.list.map(report)
      yield { type: 'selection', metric: this.metric, trials } as const
      const metrics = { trainingSeconds: Number(this.seconds.toFixed(2)), trials: trials.length, ...extra.metrics }
      const selection = trials as unknown as Record<string, unknown>[]
      const result = yield* training.conclude({ ...extra, metrics, lineage: { ...extra.lineage, selection } })
      return { ...result, seconds: this.seconds } // of all trials, not of the last stretch of one
    } finally {
      await training.close()
    }
  }

  /** Opens a trial's training; that of a mean as its first member's, with the network of all. */
  #open(trial: Trial): AsyncGenerator<TrainEvent, Training> {
    if (!trial.members) return this.#told(trial, Training.open(this.jobOf(trial)))
    const members = this.#membersOf(trial)
    const family = meanOf(
      members.map((member) => {
        const { spec } = this.jobOf(member)
        return { family: familyOf(spec).family as TextFamily, options: optionsOf(spec) }
      }),
    )
    const job = this.jobOf({ ...members[0], trial: trial.trial })
    const open: Task['open'] = (context) => textClassification.open({ ...context, name: trial.family, family })
    return this.#told(trial, Training.open(job, open))
  }

  #membersOf = ({ members }: Trial): Trial[] => members!.map((number) => this.list[number - 1])

  /** The best weights of members where the network of their mean has them. */
  #weightsOf(members: readonly Trial[]): Weights {
    return Object.fromEntries(
      members.flatMap((member, at) =>
        Object.entries(bestIn(this.jobOf(member).folder)!.weights).map(([path, weight]) => [
          `${memberScope(at)}/${path}`,
          weight,
        ]),
      ),
    )
  }

  /** Of what opening a trial tells, what those who follow the run want to hear. */
  async *#told(trial: Trial, opening: AsyncGenerator<TrainEvent, Training>): AsyncGenerator<TrainEvent, Training> {
    let next = await opening.next()
    for (; !next.done; next = await opening.next()) {
      const event = next.value
      if (event.type === 'model') trial.parameters = event.parameters
      if (event.type === 'progress' || (event.type === 'data' && !this.#reported)) yield event
      if (event.type === 'data') this.#reported = true
    }
    return next.value
  }
  #reported = false
}

const FILE = 'trials.json'
const dataFolder = (job: TrainJob) => join(job.folder, 'data')

/** A trial as it is told of. */
function report({
  score: _score,
  scores: _scores,
  planned: _planned,
  members: _members,
  minutes,
  ...told
}: Trial): TrialReport {
  return { ...told, minutes: Number(minutes.toFixed(2)) }
}

/** Cleans a job's data for all of its trainings. */
export async function* cleanSources(job: TrainJob, folder: string): AsyncGenerator<TrainEvent, Cleaned> {
  const { spec } = job
  return yield* withProgress(async (tell) => {
    const { train, heldOut, close } = await openSources(job)
    try {
      const options = {
        train,
        ...(heldOut && { heldOut }),
        problem: problemOf(spec),
        dropUnlabelled: spec.dropUnlabelled ?? false,
        keepLeakage: spec.keepLeakage ?? false,
        characters: charactersFor(LONGEST),
        folder,
      }
      return await clean(options, (read) => tell('reading', read))
    } finally {
      await close()
    }
  })
}
