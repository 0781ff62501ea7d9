import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AthanorError } from '../base/errors.ts'
import { readTensors } from './tensors.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-tensors-'))
after(() => rmSync(root, { recursive: true, force: true }))
const read = (name: string, lines: string[], label?: string) => {
  const path = join(root, name)
  writeFileSync(path, lines.join('\n'))
  return readTensors({ path, source: name }, [{ name: 'x', dims: [2, -1] }], label)
}
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && error.message.includes(part)

test('numbers and lists of any depth become rows of one size', async () => {
  const flat = await read('a.jsonl', ['{"x": [[1,2,3],[4,5,6]], "y": "a"}', '{"x": [7,8,9,10,11,12.5], "y": "b"}'], 'y')
  assert.deepEqual(flat, {
    rows: 2,
    dims: { x: [2, 3] },
    columns: { x: Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.5) },
    labels: ['a', 'b'],
  })
})

test('what does not fit is told with its line', async () => {
  const good = '{"x": [1,2,3,4], "y": 1}'
  await assert.rejects(read('a.jsonl', ['{"z": [1]}']), code('COLUMN_UNKNOWN', 'no column "x" in a.jsonl; it has z'))
  await assert.rejects(
    read('a.jsonl', [good, '{"x": [1,2], "y": 1}']),
    code('DATA_MALFORMED', 'line 2: "x" has 2 numbers where 4'),
  )
  await assert.rejects(
    read('a.jsonl', ['{"x": [1,2,3]}']),
    code('DATA_MALFORMED', '3 numbers of "x" do not make a tensor of [2,?]'),
  )
  await assert.rejects(
    read('a.jsonl', [good, '{"x": [1,"b",3,4]}']),
    code('DATA_MALFORMED', 'line 2: "x" has no number at place 2'),
  )
  await assert.rejects(read('a.jsonl', [good, '{"y": 3}']), code('DATA_MALFORMED', 'line 2: "x" has no number'))
  await assert.rejects(read('a.jsonl', [good, '{"x": [1,2,3,4]}'], 'y'), code('LABEL_MISSING', 'line 2'))
  await assert.rejects(read('a.jsonl', []), code('DATA_EMPTY'))
  await assert.rejects(read('a.csv', ['x,y', '1,2']), code('DATA_FORMAT_UNKNOWN'))
})
