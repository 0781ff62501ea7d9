import { availableParallelism } from 'node:os'
import { fail } from '../base/errors.ts'
import { Engine, type EngineSpec, type NewRequest } from '../engine/engine.ts'
import type { Serving } from './engines.ts'
import { exampleRequests } from './examples.ts'

/** A way to run a version, and what it came to. */
export interface Measured {
  threads: number
  replicas: number
  /** Most tokens in a batch; absent where there are none. */
  tokenBudget?: number
  /** Requests answered in a second by as many callers as saturate it, and milliseconds of one that is alone, median. */
  perSecond: number
  alone: number
  /** Resident bytes of its processes. */
  memory: number
}

export interface Tuning {
  measured: Measured[]
  chosen: Required<Pick<Serving, 'threads' | 'replicas'>> & Pick<Serving, 'tokenBudget'>
}

const BUDGETS = [2048, 8192, 32_768]
const DEFAULT_BUDGET = 8192
/** Callers that wait for their answers, and how they are measured: rounds of milliseconds, in turn with all others. */
const CALLERS = 32
const ROUNDS = 3
const ROUND = 400
const DEADLINE = 60_000
/** A setting must be better by this much to be worth more processes or threads. */
const WORTH = 1.03

interface Candidate extends Omit<Measured, 'perSecond' | 'alone' | 'memory'> {
  engines: Engine[]
  rates: number[]
  times: number[]
}

/**
 * Measures a few ways to run a version on its own examples, in turn: threads and replicas first, then, of texts, how many
 * tokens a batch may have. Chooses the one that answers most; of nearly equal ones that with the fewest processes and
 * threads. Throws UNSUPPORTED for what is not run by onnxruntime, or writes texts.
 */
export async function tune(
  spec: EngineSpec,
  { cores = availableParallelism(), round = ROUND }: { cores?: number; round?: number } = {},
): Promise<Tuning> {
  const { task, engine = 'onnx' } = spec.manifest
  if (engine !== 'onnx' || task === 'text-generation')
    throw fail('UNSUPPORTED', { what: `tuning of ${task} run by ${engine}`, instead: 'Set threads by hand.' })
  const requests = await exampleRequests(spec.manifest, spec.files, 256)
  const ofTexts = requests.some((request) => 'texts' in request)
  const started: Engine[] = []
  const start = async (threads: number, count: number, tokenBudget = DEFAULT_BUDGET) => {
    const engines = Array.from({ length: count }, () => new Engine(spec, { threads, tokenBudget }))
    started.push(...engines)
    await Promise.all(engines.map(({ ready }) => ready))
    return engines
  }
  try {
    const candidates: Candidate[] = []
    for (let threads = 1; threads <= Math.min(8, cores); threads *= 2) {
      const most = Math.min(8, Math.floor(cores / threads))
      const engines = await start(threads, most)
      for (const replicas of new Set([1, most]))
        candidates.push({
          ...candidate(threads, engines.slice(0, replicas)),
          ...(ofTexts && { tokenBudget: DEFAULT_BUDGET }),
        })
    }
    await race(candidates, requests, round)
    const first = choice(candidates)
    if (ofTexts) {
      const others: Candidate[] = []
      for (const tokenBudget of BUDGETS.filter((budget) => budget !== DEFAULT_BUDGET))
        others.push({
          ...candidate(first.threads, await start(first.threads, first.replicas, tokenBudget)),
          tokenBudget,
        })
      const again = { ...first, rates: [], times: [] } // beside the others, so that all meet the same machine
      await race([again, ...others], requests, round)
      Object.assign(first, again)
      candidates.push(...others)
    }
    const { threads, replicas, tokenBudget } = choice(candidates)
    return {
      measured: await Promise.all(candidates.map(result)),
      chosen: { threads, replicas, ...(tokenBudget !== undefined && { tokenBudget }) },
    }
  } finally {
    await Promise.all(started.map((engine) => engine.stop(0)))
  }
}

const candidate = (threads: number, engines: Engine[]): Candidate => ({
  threads,
  replicas: engines.length,
  engines,
  rates: [],
  times: [],
})

/** Lets candidates take turns, so that what else the machine does befalls all alike; the first turn is a warm-up. */
async function race(candidates: readonly Candidate[], requests: readonly NewRequest[], length: number) {
  for (let round = 0; round <= ROUNDS; round++) {
    for (const one of round % 2 ? candidates : candidates.toReversed()) {
      const rate = await load(one.engines, requests, CALLERS, length)
      const { took } = await load(one.engines.slice(0, 1), requests, 1, length)
      if (round === 0) continue
      one.rates.push(rate.perSecond)
      one.times.push(...took)
    }
  }
}

async function load(engines: readonly Engine[], requests: readonly NewRequest[], callers: number, length: number) {
  const took: number[] = []
  const began = performance.now()
  let next = 0
  const call = async (caller: number) => {
    const engine = engines[caller % engines.length]
    while (performance.now() - began < length) {
      const sent = performance.now()
      await engine.request(requests[next++ % requests.length], { deadline: DEADLINE })
      took.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, caller) => call(caller)))
  return { took, perSecond: took.length / ((performance.now() - began) / 1000) }
}

/** The fastest, unless one with less is nearly as fast. */
function choice(candidates: readonly Candidate[]): Candidate {
  const lean = candidates.toSorted((a, b) => a.replicas - b.replicas || a.threads - b.threads)
  return lean.reduce((best, one) => (median(one.rates) > WORTH * median(best.rates) ? one : best))
}

async function result({ engines, rates, times, threads, replicas, tokenBudget }: Candidate): Promise<Measured> {
  const stats = await Promise.all(engines.map((engine) => engine.stats()))
  return {
    threads,
    replicas,
    ...(tokenBudget !== undefined && { tokenBudget }),
    perSecond: median(rates),
    alone: median(times),
    memory: stats.reduce((sum, one) => sum + (one?.rss ?? 0), 0),
  }
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
