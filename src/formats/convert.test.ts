import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { convert } from './convert.ts'

const folder = mkdtempSync(join(tmpdir(), 'athanor-convert-test-'))
const wide = new Float32Array(16_000_000)
after(() => rmSync(folder, { recursive: true, force: true }))

test('a conversion that takes more memory than it may, native or not, is ended alone', async () => {
  // large enough to be looked at while it is read
  const g = new GraphBuilder()
  g.output(o.matMul(g.input('x', 'float32', ['n', 4]), g.initializer('w', float32([4, 4_000_000], wide))), 'y')
  const bytes = writeModel(g.build())
  const path = join(folder, 'model.onnx')
  writeFileSync(path, bytes)
  const job = { kind: 'import', files: { 'model.onnx': path }, options: { task: 'tensor' } } as const
  const told: number[] = []
  const allowed = (memory: number) => (size: number) => {
    told.push(size)
    return { time: 60_000_000, memory }
  }
  await assert.rejects(
    convert(job, async () => assert.fail('it was allowed'), allowed(1 << 10)),
    { code: 'FORMAT_INVALID', message: /too much time or memory/ },
  )
  assert.equal(await convert(job, async ({ manifest }) => manifest?.task, allowed(2 ** 30)), 'tensor')
  assert.ok(told.every((size) => size === bytes.byteLength))
  assert.deepEqual(readdirSync(folder), ['model.onnx'])
})
