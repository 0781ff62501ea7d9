import type { TrainEvent } from './events.ts'
import { familyOf, optionsOf, type TrainJob, type TrainResult } from './job.ts'
import type { Options } from './options.ts'
import { type Domain, type Observation, type Point, parzenPoint, randomPoint, type Space } from './sampler.ts'
import { type Trial, Trials } from './trial.ts'

/** What is searched where a family has the option; around the default where that differs between families. */
const domains: Record<string, (standard: number) => Domain> = {
  learningRate: (standard) => ({ kind: 'number', low: standard / 5, high: standard * 5, log: true }),
  dropout: () => ({ kind: 'number', low: 0, high: 0.8 }),
  wordDropout: () => ({ kind: 'number', low: 0, high: 0.3 }),
  labelSmoothing: () => ({ kind: 'number', low: 0, high: 0.2 }),
  weightDecay: () => ({ kind: 'number', low: 1e-4, high: 0.3, log: true }),
  average: () => ({ kind: 'choice', values: [0, 0.99, 0.998] }),
  width: (standard) => ({ kind: 'choice', values: [standard / 2, standard, standard * 2] }),
  hidden: (standard) => ({ kind: 'choice', values: [standard / 2, standard, standard * 2] }),
  filters: (standard) => ({ kind: 'choice', values: [standard / 2, standard, standard * 2] }),
  ngrams: () => ({ kind: 'choice', values: [1, 2, 3, 4] }),
  tokenizer: () => ({ kind: 'choice', values: ['character', 'word'] }),
  batchSize: (standard) => ({ kind: 'choice', values: [standard / 2, standard, standard * 2] }),
}

/** The options of a family that are searched: those that it has and that were not given. */
function searchSpace(family: string, given: Options): Space {
  const table = optionsOf({ dataset: '', family })
  return Object.fromEntries(
    Object.entries(domains)
      .filter(([name]) => name in table && !(name in given))
      .map(([name, domain]) => [name, domain(Number(table[name]))]),
  )
}

/** Trials that must have come as far before another is compared with their median. */
const COMPARED = 3

/**
 * Tries options of a family one after the other and keeps the best by the validation split; the held-out split is looked
 * at once, in the end. A trial is given up after an epoch where it is worse than the median of the others at theirs
 * (Golovin et al. 2017). Every trial's result is on disk, so that a search that was killed goes on after the last one.
 */
export async function* search(
  job: TrainJob,
  { trials: wanted, method = 'tpe' }: { trials: number; method?: 'tpe' | 'random' },
  stop: AbortSignal,
): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const { spec } = job
  const { name } = familyOf(spec)
  const given = spec.options ?? {}
  const space = searchSpace(name, given)
  const seed = spec.seed ?? 1
  const trials = yield* Trials.open(job)
  yield { type: 'state', state: 'training' }
  const budget = spec.budget ?? Number.POSITIVE_INFINITY
  for (let n = 0; n < wanted; n++) {
    const left = budget - trials.seconds
    if (left <= 0 && trials.ranked().length > 0) break
    // the first trial is the defaults: a search must not end with less
    const sampled = () => {
      if (n === 0) return {}
      return method === 'tpe' ? parzenPoint(space, seed, n, observed(trials)) : randomPoint(space, seed, n)
    }
    const trial = trials.list[n] ?? trials.add(name, { ...given, ...sampled() })
    if (trial.state === 'done' || trial.state === 'dropped') continue
    const over = Number.isFinite(left) && n > 0 ? AbortSignal.timeout(Math.max(1, Math.ceil(1000 * left))) : undefined
    const keepOn = (one: Trial) => keepsUp(one, trials)
    const ended = yield* trials.advance(trial, (all) => all, { stop, ...(over && { over }), keepOn })
    if (stop.aborted) return undefined
    if (ended === 'stopped') {
      // stopped by the budget with a score, or behind the others
      trial.state = 'done'
      if (trial.score === undefined) yield trials.drop(trial, 'not one epoch within the budget')
      else if (!keepsUp(trial, trials)) trial.reason = `behind the median after ${trial.epochs} epochs`
      trials.save()
    }
    // only the best trial's weights stay on disk
    for (const worse of trials.ranked().slice(1)) trials.forget(worse)
  }
  const [chosen] = trials.ranked()
  return yield* trials.conclude(chosen)
}

/** What was tried and how it scored, the options of the space alone; scores so that more is better. */
function observed(trials: Trials): Observation[] {
  const sign = trials.better === 'higher' ? 1 : -1
  const standard = (trial: Trial) => optionsOf({ dataset: '', family: trial.family }) as Point
  return trials.list
    .filter(({ score }) => score !== undefined)
    .map((trial) => ({ point: { ...standard(trial), ...(trial.options as Point) }, score: sign * trial.score! }))
}

/** Whether a trial's best score so far is no worse than the median of what others had by that epoch. */
function keepsUp(trial: Trial, { list, better }: Trials): boolean {
  const sign = better === 'higher' ? 1 : -1
  const bestBy = ({ scores }: Trial) => Math.max(...scores.slice(0, trial.epochs).map((score) => sign * score))
  const others = list.filter((other) => other !== trial && other.epochs >= trial.epochs && other.scores.length > 0)
  if (others.length < COMPARED) return true
  const sorted = others.map(bestBy).sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return bestBy(trial) >= median
}
