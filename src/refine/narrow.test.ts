import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from '../base/random.ts'
import { narrowed } from './narrow.ts'

const [rows, width, rank] = [60, 12, 4]
const next = random(3)
const draw = (length: number) => Float32Array.from({ length }, () => next() - 0.5)

/** Products of all pairs of rows. */
function products(table: Float32Array, width: number): number[] {
  const vectors = Array.from({ length: rows }, (_, row) => table.subarray(row * width, (row + 1) * width))
  return vectors.flatMap((a) => vectors.map((b) => a.reduce((sum, value, i) => sum + value * b[i], 0)))
}

test('vectors that lie in few directions keep all their products in as many numbers', () => {
  const [left, right] = [draw(rows * rank), draw(rank * width)]
  const table = Float32Array.from({ length: rows * width }, (_, at) => {
    const [row, column] = [Math.floor(at / width), at % width]
    let sum = 0
    for (let k = 0; k < rank; k++) sum += left[row * rank + k] * right[k * width + column]
    return sum
  })
  const few = products(narrowed(table, width, rank), rank)
  products(table, width).forEach((value, i) => {
    assert.ok(Math.abs(value - few[i]) < 1e-5, `${value} and ${few[i]}`)
  })
})

test('of the others most is kept in the first directions', () => {
  const table = draw(rows * width).map((value, i) => value * 2 ** -(i % width))
  const energy = (values: Float32Array) => values.reduce((sum, value) => sum + value ** 2, 0)
  assert.ok(energy(narrowed(table, width, 3)) > 0.95 * energy(table))
  assert.ok(Math.abs(energy(narrowed(table, width, width)) / energy(table) - 1) < 1e-5)
})
