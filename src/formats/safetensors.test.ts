import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AthanorError } from '../base/errors.ts'
import { fromBfloat, fromHalf, toBfloat, toHalf } from '../graph/half.ts'
import { float32, fromNumbers } from '../graph/tensor.ts'
import { floatsOf, readSafetensors, writeSafetensors } from './safetensors.ts'

const file = (header: unknown, data = Buffer.alloc(0), size?: bigint) => {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(size ?? BigInt(json.length))
  return Buffer.concat([length, json, data])
}
const entry = (dtype: string, shape: unknown, data_offsets: unknown) => ({ dtype, shape, data_offsets })

test('tensors of every type come back as they were written, each aligned', () => {
  const tensors = [
    ['bytes', fromNumbers('uint8', [3], [1, 2, 255])],
    ['w', float32([2, 2], [1, -2.5, 3e-40, Number.POSITIVE_INFINITY])],
    ['ids', fromNumbers('int64', [2], [-7, 2 ** 40])],
    ['none', float32([0, 5], [])],
    ['scalar', fromNumbers('float64', [], [Math.PI])],
    ['flag', fromNumbers('bool', [1], [1])],
  ] as const
  const bytes = writeSafetensors(tensors, { format: 'pt' })
  const { tensors: read, metadata } = readSafetensors(bytes)
  assert.deepEqual(metadata, { format: 'pt' })
  assert.deepEqual(new Set(read.keys()), new Set(tensors.map(([name]) => name)))
  for (const [name, tensor] of tensors) assert.deepEqual(read.get(name), tensor)
  // the same from memory where nothing is aligned
  const moved = new Uint8Array(bytes.byteLength + 1)
  moved.set(bytes, 1)
  for (const [name, tensor] of tensors) assert.deepEqual(readSafetensors(moved.subarray(1)).tensors.get(name), tensor)
})

test('what the file does not hold is refused before anything is allocated', () => {
  const four = Buffer.alloc(4)
  const bad: [string, Buffer, RegExp][] = [
    ['empty', Buffer.alloc(0), /too few/],
    ['header beyond the file', file('{}', undefined, 2n ** 63n), /the header claims 9223372036854775808/],
    ['not an object', file('[]'), /not a JSON object/],
    ['not JSON', file('{"a":'), /not valid JSON/],
    ['not UTF-8', file('{"\ud800":1}'.replace('\ud800', '\u0001')), /not valid JSON/],
    ['unknown type', file({ a: entry('F4', [1], [0, 4]) }, four), /F4 is none of/],
    ['inherited type', file({ a: entry('constructor', [1], [0, 4]) }, four), /is none of/],
    ['negative size', file({ a: entry('F32', [-1], [0, 4]) }, four), /not a list of sizes/],
    ['fraction', file({ a: entry('F32', [0.5], [0, 4]) }, four), /not a list of sizes/],
    ['product beyond counting', file({ a: entry('F32', [2 ** 40, 2 ** 40], [0, 4]) }, four), /no file holds/],
    ['zero hides a product', file({ a: entry('F32', [0, 2 ** 40, 2 ** 40], [0, 0]) }), /no file holds/],
    ['size differs', file({ a: entry('F32', [2], [0, 4]) }, four), /4 bytes for a shape that needs 8/],
    ['offsets backwards', file({ a: entry('F32', [1], [4, 0]) }, four), /-4 bytes/],
    ['beyond the file', file({ a: entry('F32', [1], [0, 4]) }), /take 4 bytes, the file has 0/],
    ['overlap', file({ a: entry('F32', [1], [0, 4]), b: entry('F32', [1], [2, 6]) }, Buffer.alloc(6)), /begins at 2/],
    ['gap', file({ a: entry('F32', [1], [0, 4]), b: entry('F32', [1], [6, 10]) }, Buffer.alloc(10)), /begins at 6/],
    ['bytes left over', file({ a: entry('F32', [1], [0, 4]) }, Buffer.alloc(9)), /the file has 9/],
    [
      'the same name twice',
      file(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        Buffer.alloc(2),
      ),
      /begins at 1/,
    ],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }), /not a map of texts/],
  ]
  for (const [what, bytes, reason] of bad)
    assert.throws(
      () => readSafetensors(bytes),
      (error) => error instanceof AthanorError && error.code === 'FORMAT_INVALID' && reason.test(error.message),
      what,
    )
})

test('a damaged file is read or refused, never anything else', () => {
  const good = writeSafetensors([['w', float32([4], [1, 2, 3, 4])]])
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }),
      fc.nat(good.length),
      (edits, end) => {
        const bytes = Buffer.from(good.subarray(0, end))
        for (const [at, value] of edits) if (at < end) bytes[at] = value
        try {
          readSafetensors(bytes)
        } catch (error) {
          assert.ok(error instanceof AthanorError && error.code === 'FORMAT_INVALID', String(error))
        }
      },
    ),
    { numRuns: 2000 },
  )
})

test('half and bfloat numbers round to the nearest, ties to even', () => {
  const every = Uint16Array.from({ length: 65_536 }, (_, i) => i)
  const isNaN16 = (half: number) => (half & 0x7c00) === 0x7c00 && (half & 1023) !== 0
  const back = toHalf(fromHalf(every))
  for (const half of every) if (!isNaN16(half)) assert.equal(back[half], half)
  const known: [number, number][] = [
    [1, 0x3c00],
    [-2, 0xc000],
    [65_504, 0x7bff],
    [65_519.99, 0x7bff],
    [65_520, 0x7c00],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [2 ** -25, 0],
    [2 ** -24, 1],
    [3 * 2 ** -25, 2],
    [1e-30, 0],
    [Number.NEGATIVE_INFINITY, 0xfc00],
  ]
  for (const [value, half] of known) assert.equal(toHalf([value])[0], half, String(value))
  assert.ok(Number.isNaN(fromHalf(toHalf([Number.NaN]))[0]))
  assert.deepEqual([...toBfloat([1, -1, 1 + 2 ** -8, 1 + 3 * 2 ** -8])], [0x3f80, 0xbf80, 0x3f80, 0x3f82])
  assert.deepEqual([...fromBfloat(Uint16Array.of(0x3f80, 0xff80))], [1, Number.NEGATIVE_INFINITY])
  assert.ok(Number.isNaN(fromBfloat(toBfloat([Number.NaN]))[0]))
  assert.deepEqual([...floatsOf({ dtype: 'float16', dims: [1], data: Uint16Array.of(0x3c00) }, 'x')], [1])
  assert.throws(() => floatsOf(fromNumbers('int64', [1], [1]), 'x'), /real numbers/)
})
