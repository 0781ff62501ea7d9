import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Observation, type Point, parzenPoint, randomPoint, type Space } from './sampler.ts'

const space: Space = {
  rate: { kind: 'number', low: 1e-4, high: 1, log: true },
  share: { kind: 'number', low: 0, high: 0.8 },
  width: { kind: 'number', low: 1, high: 64, integer: true },
  kind: { kind: 'choice', values: ['a', 'b', 'c', 'd'] },
}
/** Best, and 0, at rate 0.01, share 0.2, width 32 and kind c. */
const score = ({ rate, share, width, kind }: Point) =>
  -((Math.log10(Number(rate)) + 2) ** 2) -
  10 * (Number(share) - 0.2) ** 2 -
  ((Number(width) - 32) / 32) ** 2 -
  (kind === 'c' ? 0 : 0.5)

function best(next: (n: number, tried: readonly Observation[]) => Point, trials: number): number {
  const tried: Observation[] = []
  for (let n = 0; n < trials; n++) {
    const point = next(n, tried)
    tried.push({ point, score: score(point) })
  }
  return Math.max(...tried.map((one) => one.score))
}

test('points lie in the space, and depend on seed, number and what was tried alone', () => {
  const tried: Observation[] = []
  for (let n = 0; n < 60; n++) {
    const point = parzenPoint(space, 7, n, tried)
    assert.deepEqual(parzenPoint(space, 7, n, [...tried]), point)
    const { rate, share, width, kind } = point as { rate: number; share: number; width: number; kind: string }
    assert.ok(rate >= 1e-4 && rate <= 1 && share >= 0 && share <= 0.8, JSON.stringify(point))
    assert.ok(Number.isInteger(width) && width >= 1 && width <= 64 && 'abcd'.includes(kind))
    tried.push({ point, score: score(point) })
  }
  assert.equal(new Set(tried.map(({ point }) => JSON.stringify(point))).size > 50, true)
  assert.notDeepEqual(randomPoint(space, 1, 0), randomPoint(space, 2, 0))
})

test('a search that learns comes nearer than chance, over many seeds', () => {
  const seeds = Array.from({ length: 30 }, (_, i) => i + 1)
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const learnt = mean(seeds.map((seed) => best((n, tried) => parzenPoint(space, seed, n, tried), 40)))
  const chance = mean(seeds.map((seed) => best((n) => randomPoint(space, seed, n), 40)))
  assert.ok(learnt > 0.75 * chance, `learnt ${learnt}, chance ${chance}`) // both are below 0
})
