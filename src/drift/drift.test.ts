import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { random } from '../base/random.ts'
import { jensenShannon, kolmogorovSmirnov, populationStability } from './distance.ts'
import { type Observed, scriptOf } from './features.ts'
import { judge } from './judge.ts'
import { imageMeasures, type Measured, rowMeasures, vectorMeasures } from './measures.ts'
import { measuredReference, type Reference, referenceOf, vectorReference } from './reference.ts'
import { Sketch, WINDOW, type Window } from './sketch.ts'

test('distances: known values, and what must hold for any counts', () => {
  assert.equal(jensenShannon([1, 0], [0, 1]), 1)
  assert.equal(kolmogorovSmirnov([1, 0, 0], [0, 0, 1]), 1)
  // by NumPy: (sum(p log2(p / m)) + sum(q log2(q / m))) / 2 with m = (p + q) / 2, and sum((q - p) log(q / p))
  assert.ok(Math.abs(jensenShannon([10, 30, 60], [30, 30, 40]) - 0.0522691) < 1e-6)
  assert.ok(Math.abs(populationStability([10, 30, 60], [30, 30, 40]) - 0.3008155) < 1e-6)
  const pair = fc
    .integer({ min: 1, max: 20 })
    .chain((n) => fc.tuple(...[0, 1].map(() => fc.array(fc.nat(1000), { minLength: n, maxLength: n }))))
  fc.assert(
    fc.property(pair, ([a, b]) => {
      const [there, back] = [jensenShannon(a, b), jensenShannon(b, a)]
      assert.ok(Math.abs(there - back) < 1e-9 && there >= -1e-12 && there <= 1 + 1e-12)
      assert.ok(Math.abs(jensenShannon(a, a)) < 1e-12)
      assert.ok(kolmogorovSmirnov(a, b) <= 1 + 1e-9)
      assert.ok(populationStability(a, b) >= -1e-9)
    }),
  )
})

/** Texts of a language of 40 tokens with a favourite, on which the made-up model is right as often as it is certain. */
function* requests(seed: number, favourite: number, certainty: number): Generator<Observed & { right: boolean }> {
  const next = random(seed)
  for (;;) {
    const ids = Array.from({ length: 10 + Math.floor(next() * 30) }, () =>
      next() < 0.3 ? favourite : 2 + Math.floor(next() * 40),
    )
    const confidence = next() < certainty ? 0.9 + next() * 0.1 : 0.5 + next() * 0.2
    yield { ids, script: 2, probabilities: [confidence, 1 - confidence], right: confidence > 0.9 }
  }
}
const take = <T>(count: number, from: Iterator<T>) => Array.from({ length: count }, () => from.next().value as T)

function windowsOf(rows: readonly Observed[], threshold: Pick<Reference, 'confidence'>): Window[] {
  const sketch = Sketch.ofTexts(threshold)
  return rows.flatMap((row) => sketch.add(row) ?? [])
}

test('windows of the same kind are normal, of another kind are not, and accuracy is estimated without labels', () => {
  const reference = referenceOf(take(1000, requests(1, 5, 0.9)))!
  assert.ok(Math.abs(reference.accuracy! - 0.9) < 0.04)
  const normal = windowsOf(take(40 * WINDOW, requests(2, 5, 0.9)), reference).map((window) => judge(window, reference))
  assert.equal(normal.length, 40)
  assert.deepEqual(
    normal.flatMap(({ drifted }) => drifted),
    [],
  )
  const [other] = windowsOf(take(WINDOW, requests(3, 9, 0.6)), reference).map((window) => judge(window, reference))
  assert.deepEqual(other.drifted, ['tokens', 'confidence'])
  assert.ok(Math.abs(other.estimatedAccuracy! - 0.6) < 0.1)
  assert.equal(referenceOf(take(100, requests(1, 5, 0.9))), undefined)
})

const gauss = (next: () => number) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())

test('images, numbers and vectors: windows of the same kind are normal, of another kind are not', () => {
  const image = (next: () => number, light: number): Measured & { right: boolean } => {
    const pixels = Uint8Array.from({ length: 3 * 64 }, () => Math.max(0, Math.min(255, light + 40 * gauss(next))))
    const confidence = next() < 0.8 ? 0.95 : 0.6
    return { measures: imageMeasures(pixels, 3), probabilities: [1 - confidence, confidence], right: confidence > 0.9 }
  }
  const numbers = (next: () => number, shift: number): Measured => {
    const row = [gauss(next) + shift, next() < 0.5 ? 1 : 0, 7]
    return { measures: Object.fromEntries(rowMeasures('x', row)) }
  }
  const many = <T>(seed: number, count: number, make: (next: () => number) => T) => {
    const next = random(seed)
    return Array.from({ length: count }, () => make(next))
  }
  const driftedOf = (reference: Reference, rows: readonly Measured[]) => {
    const sketch = Sketch.ofMeasures(reference)
    return rows.flatMap((row) => sketch.add(row) ?? []).map((window) => judge(window, reference))
  }
  for (const [what, make, expected] of [
    ['images', image, 'brightness'],
    ['numbers', numbers, 'x[0]'],
  ] as const) {
    const [usual, unusual] = what === 'images' ? [120, 170] : [0, 1.5]
    const reference = measuredReference(many(1, 500, (next) => make(next, usual)))!
    const calm = driftedOf(
      reference,
      many(2, 6 * WINDOW, (next) => make(next, usual)),
    )
    assert.deepEqual(
      calm.flatMap(({ drifted }) => drifted),
      [],
      what,
    )
    const [other] = driftedOf(
      reference,
      many(3, WINDOW, (next) => make(next, unusual)),
    )
    assert.ok(other.drifted.includes(expected), `${what}: ${other.drifted}`)
    assert.ok(!other.drifted.some((name) => ['label', 'confidence', 'x[1]', 'x[2]'].includes(name)), what)
    if (what === 'images') assert.ok(Math.abs(other.estimatedAccuracy! - 0.8) < 0.1)
    else assert.equal(other.estimatedAccuracy, undefined)
    const broken = driftedOf(
      reference,
      many(4, WINDOW, () => ({ measures: { [expected]: Number.NaN } })),
    )
    assert.ok(broken[0].drifted.includes(expected), 'no number at all')
  }

  const vector = (next: () => number, topic: number) =>
    Float32Array.from({ length: 24 }, (_, i) => gauss(next) * 0.3 + (i === topic ? 1 : 0))
  const reference = vectorReference(many(1, 500, (next) => vector(next, 0)))!
  const measured = (vectors: readonly Float32Array[]) =>
    vectors.map((one) => ({ measures: vectorMeasures(one, reference.centroid!) }))
  const calm = driftedOf(reference, measured(many(2, 6 * WINDOW, (next) => vector(next, 0))))
  assert.deepEqual(
    calm.flatMap(({ drifted }) => drifted),
    [],
  )
  const [other] = driftedOf(reference, measured(many(3, WINDOW, (next) => vector(next, 5))))
  assert.ok(other.drifted.includes('similarity'), String(other.drifted))
})

test('scripts are told by the first letters', () => {
  assert.notEqual(scriptOf('你好'), scriptOf('hello'))
  assert.equal(scriptOf('…'), 0)
})
