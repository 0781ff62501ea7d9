import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AthanorError, type ErrorCode } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import { TextPipeline } from '../../data/pipeline.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import { readModel, writeModel } from '../../graph/codec.ts'
import * as o from '../../graph/ops.ts'
import { float32 } from '../../graph/tensor.ts'
import { portableModel } from '../../nn/encoders.ts'
import { tinyEncoder } from '../../testing/tiny-encoder.ts'
import { importBundle } from '../import.ts'
import type { ImportOptions } from '../options.ts'
import { sourceOf } from '../source.ts'

const code =
  (expected: ErrorCode, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
const from = (bytes: Uint8Array, options: ImportOptions) => importBundle(sourceOf({ 'model.onnx': bytes }), options)
const run = async (bytes: Uint8Array, feeds: Record<string, ort.Tensor>) =>
  (await (await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })).run(feeds)).probabilities

const SIZE = 4
const weights = (classes: number) => Float32Array.from({ length: 3 * classes }, (_, i) => Math.sin(i * 2.3))

/** A classifier by the mean colour of images, channels first or last. */
function seeing(last: boolean, classes: number, finish: (scores: ReturnType<typeof o.matMul>) => typeof scores) {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', last ? ['n', SIZE, SIZE, 3] : ['n', 3, SIZE, SIZE])
  const colours = o.reduceMean(x, last ? [1, 2] : [2, 3]) // (n, 3)
  g.output(finish(o.matMul(colours, g.initializer('w', float32([3, classes], weights(classes))))), 'y')
  return writeModel(g.build())
}

/** Two images (2, 3, SIZE, SIZE) and their mean colours. */
const pixels = Float32Array.from({ length: 2 * 3 * SIZE * SIZE }, (_, i) => Math.cos(i))
const scoresOf = (row: number, classes: number) => {
  const area = SIZE * SIZE
  const colours = [0, 1, 2].map((c) => {
    const plane = pixels.subarray((row * 3 + c) * area, (row * 3 + c + 1) * area)
    return plane.reduce((a, b) => a + b) / area
  })
  return Array.from({ length: classes }, (_, k) =>
    colours.reduce((sum, colour, c) => sum + colour * weights(classes)[c * classes + k], 0),
  )
}
const near = (found: ort.Tensor, expected: number[]) => {
  assert.equal(found.data.length, expected.length)
  expected.forEach((value, i) => {
    assert.ok(Math.abs(Number(found.data[i]) - value) < 1e-5, `${found.data[i]}, expected ${value}`)
  })
}

test('a bare image model, channels first or last, asks for labels and scale alone and is served as one of images', async () => {
  for (const last of [false, true]) {
    const bytes = seeing(last, 4, (scores) => scores)
    await assert.rejects(from(bytes, {}), code('TASK_UNKNOWN', '--pixels'))
    const labels = ['a', 'b', 'c', 'd']
    await assert.rejects(from(bytes, { labels }), code('OPTION_INVALID', 'bytes, unit'))
    await assert.rejects(from(bytes, { labels: ['a', 'b'], pixels: 'unit' }), code('OPTION_INVALID', '4 classes'))
    const { manifest, files } = await from(bytes, { labels, pixels: 'signed', fit: 'fill' })
    assert.deepEqual([manifest.task, manifest.labels], ['image-classification', labels])
    const half = [0.5, 0.5, 0.5]
    const size = { height: SIZE, width: SIZE, channels: 3 }
    assert.deepEqual(manifest.pipeline, { ...size, fit: 'fill', mean: half, deviation: half })
    const found = await run(files['model.onnx'], { pixels: new ort.Tensor(pixels, [2, 3, SIZE, SIZE]) })
    const expected = [0, 1].flatMap((row) => {
      const powers = scoresOf(row, 4).map(Math.exp)
      return powers.map((power) => power / powers.reduce((a, b) => a + b))
    })
    near(found, expected)
    assert.equal((await from(bytes, { task: 'tensor' })).manifest.task, 'tensor')
  }
})

test('an image model of one sigmoid has two classes; one of a fixed batch takes tensors', async () => {
  const bytes = seeing(true, 1, o.sigmoid)
  const { manifest, files } = await from(bytes, { task: 'image-classification', pixels: 'bytes' })
  assert.deepEqual(manifest.labels, ['0', '1'])
  const found = await run(files['model.onnx'], { pixels: new ort.Tensor(pixels, [2, 3, SIZE, SIZE]) })
  near(
    found,
    [0, 1].flatMap((row) => {
      const yes = 1 / (1 + Math.exp(-scoresOf(row, 1)[0]))
      return [1 - yes, yes]
    }),
  )
  const g = new GraphBuilder()
  g.output(o.reduceMean(g.input('x', 'float32', [1, 3, SIZE, SIZE]), [2, 3]), 'y')
  const fixed = writeModel(g.build())
  assert.equal((await from(fixed, {})).manifest.task, 'tensor')
  await assert.rejects(from(fixed, { task: 'image-classification', pixels: 'unit' }), code('UNSUPPORTED', '[1,3,4,4]'))
})

test('a bare graph of ids, mask and types takes texts by a tokenizer.json', async () => {
  const texts = ['the quick brown fox', 'lazy dog']
  const head = { task: 'text-classification', classes: 3 } as const
  const { config, weights: own, tokenizerJson } = tinyEncoder(texts, head, { labels: ['a', 'b', 'c'] })
  const bytes = writeModel(portableModel(config, head, own))
  await assert.rejects(from(bytes, {}), code('TASK_UNKNOWN', '--tokenizer'))
  const { manifest, files } = await from(bytes, { tokenizer: tokenizerJson, labels: ['a', 'b', 'c'] })
  assert.deepEqual([manifest.task, manifest.pipeline?.tokenizer], ['text-classification', 'published'])
  const pipeline = TextPipeline.load(manifest.pipeline as never, tokenizerJson)
  const rows = await pipeline.encode(texts)
  const int64 = (values: ArrayLike<number>, dims: number[]) =>
    new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)
  const time = Math.max(...rows.map(({ length }) => length))
  assert.notEqual(rows[0].length, rows[1].length)
  const ids = rows.flatMap((row) => Array.from({ length: time }, (_, t) => row[t] ?? 0))
  const lengths = rows.map(({ length }) => length)
  const together = await run(files['model.onnx'], { ids: int64(ids, [2, time]), lengths: int64(lengths, [2]) })
  const plain = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const alone: number[] = []
  for (const row of rows) {
    const dims = [1, row.length]
    const feeds = {
      input_ids: int64(row, dims),
      attention_mask: int64(
        row.map(() => 1),
        dims,
      ),
    }
    const { logits } = await plain.run({
      ...feeds,
      token_type_ids: int64(
        row.map(() => 0),
        dims,
      ),
    })
    const powers = Array.from(logits.data as Float32Array, Math.exp)
    alone.push(...powers.map((power) => power / powers.reduce((a, b) => a + b)))
  }
  near(together, alone)
})

test('element types that are not held here are refused by name, whichever end has them', async () => {
  const head = { task: 'text-classification', classes: 3 } as const
  const { config, weights: own, tokenizerJson: tokenizer } = tinyEncoder(['a b'], head, { labels: ['a', 'b', 'c'] })
  const labels = ['a', 'b', 'c']
  const complex64 = 14
  const texts = writeModel(portableModel(config, head, own))
  const images = seeing(false, 3, (scores) => scores)
  for (const [bytes, options] of [
    [texts, { tokenizer, labels }],
    [images, { labels, pixels: 'unit', task: 'image-classification' }],
  ] as const)
    for (const end of ['input', 'output'] as const) {
      const model = readModel(bytes)
      const { type } = model.graph![end][0]
      if (type?.value.case === 'tensorType') type.value.value.elemType = complex64
      await assert.rejects(from(writeModel(model), options), code('UNSUPPORTED'), end)
    }
})
