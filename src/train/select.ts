import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import type { Advice } from './advice.ts'
import { advise } from './advise.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { isBehind, rankAlike } from './standing.ts'
import { type Trial, Trials } from './trial.ts'

/** Seconds that choosing a model takes where nothing is said. */
const DEFAULT_BUDGET = 270

/** Share of its epochs after which a candidate is compared, and of the budget that all may take until then. */
const PROBE = { epochs: 1 / 4, time: 0.4 }

/**
 * Chooses a model: all candidates train for a quarter of their epochs; the better half by the validation split, and whatever
 * is not certainly behind it, goes on to the end as far as time allows (after successive halving, Jamieson & Talwalkar 2016);
 * the best is measured once on what was held out. Each goes on from its own checkpoint, so that nothing
 * is trained twice. Within the budget as far as there is a model at its end.
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
    yield* dropBehind(trials, left())
    trials.rounds = 1
    trials.save()
  }
  for (const trial of byWants(open())) {
    if (left() === 0) break
    yield* trials.advance(trial, (all) => all, { stop, over: AbortSignal.timeout(Math.ceil(left())) })
    if (stop.aborted) return undefined
  }
  const [chosen] = trials.ranked(open())
  return yield* trials.conclude(chosen)
}

/** A share of the time left that is spent on any trial. */
const LITTLE = 0.1

/** Milliseconds that a trial still wants, at the pace that it had. */
const wants = ({ minutes, epochs, planned = epochs }: Trial) => (60_000 * minutes * (planned - epochs)) / epochs

/** Ends the probe: of the trials, compared at the share of their epochs that all have reached, those stay that may win in time. */
function* dropBehind(trials: Trials, left: number): Generator<TrainEvent> {
  const open = trials.list.filter(({ state }) => state !== 'dropped')
  for (const trial of open)
    if (trial.score === undefined) yield trials.drop(trial, 'not one epoch within its share of the budget')
  const { better, validationRows } = trials
  const ranked = rankAlike(
    open.filter(({ state }) => state !== 'dropped'),
    better,
  )
  const contends = ({ score }: (typeof ranked)[number], at: number) =>
    at < Math.max(2, Math.ceil(ranked.length / 2)) || !isBehind(score, ranked[0].score, better, validationRows)
  const [best, ...others] = ranked.filter(contends).map(({ trial }) => trial)
  // families do not learn at one pace: what is cheap shows its end, however it began
  const cheap = ranked.map(({ trial }) => trial).filter((trial) => wants(trial) <= LITTLE * left)
  const kept = new Set([best, ...cheap])
  let taken = [...kept].reduce((sum, trial) => sum + wants(trial), 0)
  for (const trial of byWants(others)) {
    if (kept.has(trial) || taken + wants(trial) > left) continue
    taken += wants(trial)
    kept.add(trial)
  }
  for (const { trial } of ranked)
    if (!kept.has(trial)) yield trials.drop(trial, `behind others after ${trial.epochs} epochs`)
}

const byWants = (trials: readonly Trial[]) => trials.toSorted((a, b) => wants(a) - wants(b))

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
