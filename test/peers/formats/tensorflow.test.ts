// SavedModels and TensorFlow Lite models of every family, in TensorFlow. Needs Python with tensorflow: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { AthanorError } from '../../../src/base/errors.ts'
import type { Manifest } from '../../../src/bundle/manifest.ts'
import { formats } from '../../../src/formats/formats.ts'
import { writeModel } from '../../../src/graph/codec.ts'
import { madeGraphs } from '../../../src/testing/graphs.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import tensorflow'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no tensorflow; set ATHANOR_PYTHON`
const script = fileURLToPath(new URL('check_tensorflow.py', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'athanor-tensorflow-'))
after(() => rmSync(root, { recursive: true, force: true }))

const plain = (tensors: Readonly<Record<string, { dims: readonly number[]; data: unknown; dtype?: string }>>) =>
  JSON.stringify(
    Object.fromEntries(
      Object.entries(tensors).map(([name, { dims, data, dtype = 'float32' }]) => [
        name,
        { dtype, dims, data: Array.from(data as BigInt64Array, Number) },
      ]),
    ),
  )

test('SavedModels and TensorFlow Lite models of every family compute alike in TensorFlow', { skip }, async (t) => {
  const graphs = await madeGraphs()
  const refused: string[] = []
  for (const { name, model, feeds } of graphs) {
    const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
    const tensors = Object.entries(feeds).map(([input, { dtype, dims, data }]) => [
      input,
      new ort.Tensor(dtype as 'int64', data as BigInt64Array, [...dims]),
    ])
    const expected = await session.run(Object.fromEntries(tensors))
    const manifest = { task: name === 'gpt' || name === 'llama' ? 'text-generation' : 'tensor' } as Manifest
    for (const format of ['savedmodel', 'tflite']) {
      try {
        const files = await formats.find((one) => one.name === format)!.write!({ model, manifest }, {})
        const folder = join(root, `${name} ${format}`)
        mkdirSync(folder)
        for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content)
        writeFileSync(join(folder, 'feeds.json'), plain(feeds))
        writeFileSync(join(folder, 'expected.json'), plain(expected))
      } catch (error) {
        assert.ok(error instanceof AthanorError && error.code === 'UNSUPPORTED', `${name} ${format}: ${error}`)
        refused.push(`${name} ${format}`)
      }
    }
  }
  assert.ok(
    refused.every((one) => /^(lstm|gru|rnn|gpt|llama).* tflite$/.test(one)),
    refused.join(),
  )
  const output = execFileSync(python, [script, root], { stdio: ['ignore', 'pipe', 'ignore'] })
  const results = JSON.parse(String(output)) as Record<string, number | string>
  assert.equal(Object.keys(results).length, 2 * graphs.length - refused.length)
  assert.deepEqual(
    Object.entries(results).filter(([, value]) => !(Number(value) <= 1e-5)),
    [],
  )
  const largest = (kind: string) =>
    Math.max(...Object.entries(results).flatMap(([name, value]) => (name.endsWith(kind) ? [Number(value)] : [])))
  const told = ['savedmodel', 'tflite'].map((kind) => `${kind} ${largest(kind).toExponential(1)}`)
  t.diagnostic(`${Object.keys(results).length} exports, largest relative differences: ${told.join(', ')}`)
})
