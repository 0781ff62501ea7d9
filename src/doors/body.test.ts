import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { fail } from '../base/errors.ts'
import { stringsOf, tensorFromBinary } from '../graph/octets.ts'
import { collect } from './body.ts'

const refuse = (message: string) => fail('BAD_REQUEST', { message })

test('a body is copied once from the socket: tensors and files after a head of any length are views of it', async () => {
  const values = Float64Array.of(1, 2, 3)
  for (let head = 0; head < 17; head++) {
    const chunks = [Buffer.alloc(head), Buffer.from(values.buffer, 0, 10), Buffer.from(values.buffer, 10)]
    const body = await collect(Readable.from(chunks), 100, head)
    assert.equal(body.length, head + 24)
    const { data } = tensorFromBinary(body.subarray(head), 'float64', [3], 3, refuse)
    assert.deepEqual(data, values)
    assert.equal((data as Float64Array).buffer, body.buffer)
  }
  const [file] = stringsOf(Buffer.from([2, 0, 0, 0, 7, 8]), 1, refuse)
  assert.deepEqual([...file], [7, 8])
  const [odd] = [tensorFromBinary(Buffer.alloc(9).subarray(1), 'float64', [1], 1, refuse)]
  assert.deepEqual([...(odd.data as Float64Array)], [0], 'where elements cannot lie, they are moved')
  await assert.rejects(collect(Readable.from([Buffer.alloc(101)]), 100), { code: 'BODY_TOO_LARGE' })
})
