import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import type { Advice } from './advice.ts'
import { advise } from './advise.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { type Trial, Trials } from './trial.ts'

/** Seconds that choosing a model takes where nothing is said. */
const DEFAULT_BUDGET = 300

/** Shares of its epochs to which a candidate has come after each rung, and of the time left that the rung may take. */
const rungs = [
  { epochs: 1 / 4, time: 0.3 },
  { epochs: 1 / 2, time: 0.45 },
  { epochs: 1, time: 1 },
]
/** How many go on after a rung: about half, but two to the end. */
const survivors = (count: number) => Math.max(Math.min(2, count), Math.ceil(count / 2))

/**
 * Chooses a model by successive halving (Jamieson & Talwalkar 2016): all candidates train for a part of their epochs, the
 * better half by the validation split goes on, the best is measured once on what was held out. Each goes on from its own
 * checkpoint, so that nothing is trained twice. Within the budget as far as there is a model at its end.
 */
export async function* selectModel(
  job: TrainJob,
  stop: AbortSignal,
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const { task, from } = job.spec
  if ((task !== undefined && task !== 'text-classification') || from !== undefined) {
    const what = `choosing a model ${from === undefined ? `for ${task}` : 'that goes on from another'}`
    throw fail('UNSUPPORTED', { what, instead: 'Name a family with --family.' })
  }
  const trials = yield* Trials.open(job)
  const budget = job.spec.budget ?? DEFAULT_BUDGET
  const advice = await adviceFor(job, trials)
  yield { type: 'advice', advice }
  if (trials.list.length === 0) {
    for (const { family, options, reasons, seconds } of advice.candidates) {
      const trial = trials.add(family, { ...options, ...job.spec.options }, reasons[0])
      if (seconds > 2 * budget && trials.list.length > 1)
        yield trials.drop(trial, `about ${Math.round(seconds)} s of training are more than the budget of ${budget} s`)
    }
  }
  yield { type: 'state', state: 'training' }
  const left = () => 1000 * Math.max(0, budget - trials.seconds)
  for (const [at, { epochs, time }] of rungs.entries()) {
    if (at < trials.rounds) continue // over before the run was resumed
    const open = trials.list.filter(({ state }) => state !== 'dropped')
    const rungEnds = performance.now() + time * left()
    for (const [i, trial] of open.entries()) {
      const slice = Math.max(0, rungEnds - performance.now()) / (open.length - i)
      // there must be a model in the end: the first one has the time that an epoch takes
      const needed = i === 0 && trials.ranked().length === 0
      const over = needed ? firstEpoch(trial, slice) : AbortSignal.timeout(Math.max(1, Math.floor(slice)))
      const target = (all: number) => Math.max(1, Math.ceil(epochs * all))
      yield* trials.advance(trial, target, { stop, over })
      if (stop.aborted) return undefined
    }
    const ranked = trials.ranked(open.filter(({ state }) => state !== 'dropped'))
    const last = at === rungs.length - 1
    for (const trial of open) {
      if (trial.state === 'dropped') continue
      if (trial.score === undefined) yield trials.drop(trial, 'not one epoch within its share of the budget')
      else if (!last && !ranked.slice(0, survivors(open.length)).includes(trial))
        yield trials.drop(trial, `behind others after ${trial.epochs} epochs`)
    }
    trials.rounds = at + 1
    trials.save()
  }
  const [chosen] = trials.ranked(trials.list.filter(({ state }) => state !== 'dropped'))
  return yield* trials.conclude(chosen)
}

/** Lets a trial go on over its time until it has finished an epoch. */
function firstEpoch(trial: Trial, slice: number): AbortSignal {
  const over = new AbortController()
  const ends = performance.now() + slice
  const check = setInterval(() => {
    if (trial.score === undefined || performance.now() < ends) return
    over.abort()
    clearInterval(check)
  }, 200)
  check.unref()
  return over.signal
}

/** The advice that this run began with. */
async function adviceFor(job: TrainJob, trials: Trials): Promise<Advice> {
  const path = join(job.folder, 'advice.json')
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as Advice
  const advice = await advise(trials.folder, trials.cleaned, Math.min(8, availableParallelism()))
  writeFileSync(path, JSON.stringify(advice))
  return advice
}
