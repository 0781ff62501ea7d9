import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { add, alignUp, compile, div, mul, scalar, sqrt, sub, vector, vectors, view } from './simd.ts'

const f = Math.fround
const floats = fc.float({ min: f(-8), max: f(8), noNaN: true })
const content = fc.array(fc.tuple(floats, floats, floats), { minLength: 1, maxLength: 90 })

for (const address of [32, 64] as const) {
  test(`a pass over vectors computes in float32 what it says, element by element (${address}-bit addresses)`, () => {
    fc.assert(
      fc.property(content, floats, (rows, s) => {
        const all = vectors(['a', 'b', 'c'], rows.length, address)
        all.names.forEach((name, i) => {
          view(all, name).set(rows.map((row) => row[i]))
        })
        const [a, b, c] = ['a', 'b', 'c'].map(vector)
        const twice = mul(a, b) // shared by both results and the sum
        const kernel = compile(all, {
          scalars: ['s'],
          replace: { a: add(twice, sqrt(mul(c, c))), b: div(sub(twice, scalar('s')), add(mul(a, a), scalar('s'))) },
          sum: twice,
        })
        const sum = kernel(0, all.length, { s })
        rows.forEach(([x, y, z], i) => {
          const product = f(x * y)
          assert.ok(Object.is(view(all, 'a')[i], f(product + f(Math.sqrt(f(z * z))))), 'replaces a')
          assert.ok(Object.is(view(all, 'b')[i], f(f(product - s) / f(f(x * x) + s))), 'replaces b by the old a')
          assert.equal(view(all, 'c')[i], f(z))
        })
        const expected = rows.reduce((total, [x, y]) => total + f(x * y), 0)
        const size = rows.reduce((total, [x, y]) => total + Math.abs(x * y), 0)
        assert.ok(Math.abs(sum - expected) <= 1e-5 * size + 1e-30, `${sum} for ${expected}`)
      }),
    )
  })
}

test('a pass touches the elements from start to end alone', () => {
  const all = vectors(['a'], 100)
  assert.equal(all.length, alignUp(100))
  const kernel = compile(all, { scalars: ['by'], replace: { a: add(vector('a'), scalar('by')) }, sum: vector('a') })
  assert.equal(kernel(16, 16, { by: 1 }), 0)
  assert.equal(kernel(16, 48, { by: 1 }), 0)
  assert.equal(kernel(32, 64, { by: 2 }), 16)
  assert.deepEqual(
    [...view(all, 'a')],
    Array.from({ length: 112 }, (_, i) => (i < 16 ? 0 : i < 32 ? 1 : i < 48 ? 3 : i < 64 ? 2 : 0)),
  )
})
