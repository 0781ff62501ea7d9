import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import { writeWhole } from '../base/whole.ts'
import type { Advice } from './advice.ts'
import { advise } from './advise.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { behind, wants } from './standing.ts'
import { type Trial, Trials } from './trial.ts'

/** Seconds that choosing a model takes where nothing is said. */
const DEFAULT_BUDGET = 270

/** Share of its epochs after which a candidate is compared, and of the budget that all may take until then. */
const PROBE = { epochs: 1 / 4, time: 0.4 }

/**
 * Chooses a model: all candidates train for a quarter of their epochs; in the order in which they then stand on the validation
 * split, all go on to their end for which there is time (after successive halving, Jamieson & Talwalkar 2016, though families
 * learn at different paces, and none is given up for which time is left), then those whose share of the
 * time was too short for an epoch; the best, or the mean of two where that is better, is measured once on what was held out.
 * Each goes on from its own checkpoint, so that nothing is trained twice. Within the budget as far as there is a model at its end.
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
  const open = () => trials.list.filter(({ state }) => state !== 'dropped')
  if (trials.rounds === 0) {
    const ends = performance.now() + PROBE.time * left()
    for (const [i, trial] of open().entries()) {
      const slice = Math.max(0, ends - performance.now()) / (open().length - i)
      // there must be a model in the end: the first one has the time that an epoch takes
      const needed = trials.ranked().length === 0
      const over = needed ? firstEpoch(trial, slice) : AbortSignal.timeout(Math.max(1, Math.floor(slice)))
      const target = (all: number) => Math.max(1, Math.ceil(PROBE.epochs * all))
      yield* trials.advance(trial, target, { stop, over })
      if (stop.aborted) return undefined
    }
    for (const trial of behind(open(), trials.better, left()))
      yield trials.drop(trial, `behind others after ${trial.epochs} epochs, and no time for all`)
    trials.rounds = 1
    trials.save()
  }
  for (const trial of byWants(open())) {
    if (left() === 0) break
    yield* trials.advance(trial, (all) => all, { stop, over: AbortSignal.timeout(Math.ceil(left())) })
    if (stop.aborted) return undefined
  }
  for (const trial of open()) if (trial.score === undefined) yield trials.drop(trial, 'not one epoch within the budget')
  const mean = trials.list.some(({ members }) => members) ? undefined : trials.addMean()
  if (mean) yield* trials.advance(mean, (all) => all, { stop })
  if (stop.aborted) return undefined
  const [chosen] = trials.ranked(open())
  return yield* trials.conclude(chosen)
}

/** Those that end soonest first; those without an epoch yet last, in the order of advice (Infinity - Infinity is NaN). */
const byWants = (trials: readonly Trial[]) => trials.toSorted((a, b) => wants(a) - wants(b) || 0)

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
  writeWhole(path, JSON.stringify(advice))
  return advice
}
