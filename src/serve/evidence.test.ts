import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from '../base/random.ts'
import { RateEvidence, ShareEvidence } from './evidence.ts'
import { defaultPolicy, type Outcome, Trial } from './trial.ts'

interface World {
  /** Share of failed requests of the stable version and of the candidate, at a time. */
  errors: readonly [number, number]
  /** Mean latencies. */
  ms: readonly [number, number]
  weight: number
}

/** Runs a trial until it is decided, at most `limit` requests. */
function decide(seed: number, { errors, ms, weight }: World, limit: number) {
  const trial = new Trial(defaultPolicy)
  const draw = random(seed)
  for (let n = 0; n < limit; n++) {
    const ofCandidate = draw() < weight
    const at = ofCandidate ? 1 : 0
    const outcome: Outcome = { ofCandidate, failed: draw() < errors[at], ms: -Math.log(1 - draw()) * ms[at] }
    trial.add(outcome, weight)
    const { verdict } = trial.verdict ?? {}
    if (verdict) return { verdict, requests: n + 1 }
  }
  return { verdict: 'undecided', requests: limit }
}

function share(seeds: number, world: World, limit: number, verdict: string) {
  let count = 0
  for (let seed = 0; seed < seeds; seed++) if (decide(seed, world, limit).verdict === verdict) count++
  return count / seeds
}

test('equal versions are rolled back with probability alpha at most, however long one looks', () => {
  const equal: World = { errors: [0.03, 0.03], ms: [10, 10], weight: 0.3 }
  assert.ok(share(200, equal, 3000, 'worse') <= defaultPolicy.alpha)
})

test('equal versions are promoted, good ones as well', () => {
  assert.ok(share(20, { errors: [0, 0], ms: [10, 10], weight: 0.3 }, 20_000, 'fine') >= 0.9)
  assert.ok(share(20, { errors: [0.03, 0.001], ms: [10, 8], weight: 0.3 }, 20_000, 'fine') >= 0.9)
})

test('a version that fails or waits more is rolled back', () => {
  assert.equal(share(20, { errors: [0.01, 0.08], ms: [10, 10], weight: 0.3 }, 10_000, 'worse'), 1)
  assert.equal(share(20, { errors: [0, 0], ms: [10, 25], weight: 0.3 }, 10_000, 'worse'), 1)
})

test('a fault that befalls both alike is no evidence', () => {
  const evidence = new RateEvidence(2, 0.01)
  const draw = random(7)
  for (let n = 0; n < 20_000; n++) {
    const rate = n > 5000 && n < 9000 ? 0.6 : 0.001
    evidence.add(draw() < 0.5, draw() < rate, 0.5)
  }
  assert.ok(evidence.worse < Math.log(1 / 0.05))
  assert.ok(evidence.fine > Math.log(1 / 0.05), 'there was enough to say that it is no worse')
})

test('a share is told to be above or below its limit', () => {
  const run = (rate: number) => {
    const evidence = new ShareEvidence(0.05, 0.05)
    const draw = random(3)
    for (let n = 0; n < 3000; n++) evidence.add(draw() < rate)
    return { worse: evidence.worse > Math.log(20), fine: evidence.fine > Math.log(20) }
  }
  assert.deepEqual(run(0.1), { worse: true, fine: false })
  assert.deepEqual(run(0.01), { worse: false, fine: true })
})

test('a trial goes on where it was kept', () => {
  const trial = new Trial(defaultPolicy)
  for (let n = 0; n < 500; n++) trial.add({ ofCandidate: n % 2 === 0, failed: n % 10 === 0, ms: n % 50 }, 0.5)
  const again = new Trial(defaultPolicy, JSON.parse(JSON.stringify(trial)))
  assert.deepEqual(again.report, trial.report)
})

test('what befalls one key is counted once', () => {
  const trial = new Trial(defaultPolicy)
  for (let n = 0; n < 1000; n++) trial.add({ ofCandidate: true, failed: true, ms: 1, key: 'one' }, 0.5)
  assert.equal(trial.report.errors.candidate.bad, 1)
  assert.equal(trial.verdict, undefined)
})
