import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBfloat, fromHalf, toBfloat, toHalf } from './half.ts'

test('every half comes back as its own bits; numbers between are rounded to the nearest even', () => {
  const all = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
  const back = toHalf(fromHalf(all))
  const wrong = [...all].filter((bits) => back[bits] !== bits && (bits & 0x7c00) !== 0x7c00)
  assert.deepEqual(wrong, [])
  assert.deepEqual(
    [...toHalf([1 + 2 ** -11, 1 + 3 * 2 ** -11, 65_519, 65_520, 2 ** -25])],
    [0x3c00, 0x3c02, 0x7bff, 0x7c00, 0],
  )
})

test('bfloat16 keeps the upper half of a float, rounded', () => {
  assert.deepEqual([...fromBfloat(toBfloat([1, -2.5, 0, 3.140625]))], [1, -2.5, 0, 3.140625])
  assert.equal(toBfloat([1 + 2 ** -9])[0], 0x3f80)
})
