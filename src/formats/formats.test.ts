import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { AthanorError, type ErrorCode } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import { Edit } from '../graph/edit.ts'
import * as o from '../graph/ops.ts'
import { elements, float32 } from '../graph/tensor.ts'
import { quantizeWeights } from '../refine/quantize/blocks.ts'
import { layersOf } from '../refine/quantize/layers.ts'
import { tinyGraph } from '../testing/tiny.ts'
import { madeRows, madeVariants, type Variant } from '../testing/variants.ts'
import { type Format, formats, type WriteOptions } from './formats.ts'
import { importBundle } from './import.ts'
import { convertOpset } from './onnx/opset.ts'
import { makePortable } from './onnx/portable.ts'
import { type Files, sourceOf } from './source.ts'

const VOCABULARY = 40
const rows = madeRows(VOCABULARY)
const made = await madeVariants()
const format = (name: string): Format => formats.find((one) => one.name === name)!

const code =
  (expected: ErrorCode, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)

type Feeds = Record<string, ort.Tensor>
const int64 = (values: number[], dims: number[]) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)

/** Runs a model on the rows, whichever of ids and lengths it takes. */
async function probabilities(bytes: Uint8Array): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const dims = [rows.ids.length, rows.ids[0].length]
  const feeds: Feeds = {}
  session.inputMetadata.forEach((input) => {
    const type = input.isTensor ? input.type : ''
    if (input.name === 'lengths') feeds.lengths = int64(rows.lengths, [rows.lengths.length])
    else if (type === 'int32') feeds[input.name] = new ort.Tensor('int32', Int32Array.from(rows.ids.flat()), dims)
    else feeds[input.name] = int64(rows.ids.flat(), dims)
  })
  return (await session.run(feeds)).probabilities.data as Float32Array
}

function near(actual: Float32Array, expected: Float32Array, what: string) {
  assert.equal(actual.length, expected.length, what)
  const difference = Math.max(...actual.map((value, i) => Math.abs(value - expected[i])))
  assert.ok(difference <= 1e-5, `${what}: differs by ${difference}`)
}

const write = (one: Variant, name: string, options: WriteOptions = {}): Promise<Files> =>
  format(name).write!(one, options)

for (const one of made) {
  test(`${one.name}: what is written and read again computes the same`, async () => {
    const expected = await probabilities(writeModel(one.model))
    for (const options of [{}, { opset: 13 }, { opset: 15, externalData: true }]) {
      const files = await write(one, 'onnx', options)
      const { model } = await format('onnx').read!(sourceOf(files))
      near(await probabilities(writeModel(model)), expected, `onnx ${JSON.stringify(options)}`)
    }
    for (const { name, read, write: out } of formats) {
      if (name === 'savedmodel' || name === 'tfjs-graph') continue // tensorflow.test.ts
      if (name === 'onnx' || !read || !out) continue
      if (name === 'huggingface' || name.startsWith('gguf')) {
        await assert.rejects(write(one, name), code('UNSUPPORTED', 'decoder'))
        continue
      }
      if (one.name.endsWith('ngrams') && name !== 'savedmodel' && name !== 'tfjs-graph') {
        await assert.rejects(write(one, name), code('UNSUPPORTED', 'n-grams'))
        continue
      }
      let files: Files
      try {
        files = await write(one, name)
      } catch (error) {
        assert.ok(code('UNSUPPORTED')(error), `${name}: ${error}`)
        continue
      }
      const { model } = await read(sourceOf(files))
      near(await probabilities(writeModel(model)), expected, name)
    }
  })
}

test('a version whose graph is no longer its family’s is refused as layers', async () => {
  const [one] = made
  const changed = readModel(writeModel(one.model))
  changed.graph!.node[0].opType = 'Neg'
  await assert.rejects(write({ ...one, model: changed }, 'keras'), code('UNSUPPORTED', 'no longer'))
  await assert.rejects(
    write({ ...one, manifest: { ...one.manifest, family: 'other' } }, 'keras-h5'),
    code('UNSUPPORTED', 'lstm'),
  )
})

test('onnxruntime’s own operators are written out, and every opset down to 13 computes the same', async () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['batch', 6])
  const w = g.initializer(
    'w',
    float32(
      [4, 6],
      Array.from({ length: 24 }, (_, i) => Math.sin(i)),
    ),
  )
  const product = o.fusedMatMul(x, w, { transB: true, alpha: 0.5 })
  const scale = g.initializer('scale', float32([4], [1, 2, 0.5, 1.5]))
  const normal = o.layerNormalization(o.gelu(product), scale)
  const [a, b] = o.split(normal, [2, 2], 1)
  const most = o.reduceMax(o.concat([a, b], 1), [1], true)
  const size = o.cast(o.dimension(x, 0), 'float32')
  g.output(o.add(o.mul(o.add(normal, most), 2), size), 'y')
  const model = g.build()
  const run = async (bytes: Uint8Array) => {
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
    const data = Float32Array.from({ length: 18 }, (_, i) => Math.cos(i))
    return (await session.run({ x: new ort.Tensor('float32', data, [3, 6]) })).y.data as Float32Array
  }
  const expected = await run(writeModel(model))
  const portable = readModel(writeModel(model))
  makePortable(portable)
  assert.deepEqual(
    portable.opsetImport.map(({ domain }) => domain),
    [''],
  )
  for (let opset = 20; opset >= 13; opset--) {
    const copy = readModel(writeModel(portable))
    convertOpset(copy, opset)
    assert.equal(Number(copy.opsetImport[0].version), opset)
    near(await run(writeModel(readModel(writeModel(copy)))), expected, `opset ${opset}`)
  }
  assert.throws(() => convertOpset(readModel(writeModel(model)), 12), code('OPTION_INVALID', '13'))
  const bits = new GraphBuilder()
  const n = bits.input('n', 'int32', [2])
  bits.output(o.bitwiseAnd(n, 3), 'm')
  assert.throws(() => convertOpset(bits.build(), 17), code('UNSUPPORTED', 'BitwiseAnd'))
})

test('weights that refining packed into 4 and 8 bits are floats again in standard ONNX', async () => {
  const wave = (dims: number[]) =>
    float32(
      dims,
      Float32Array.from({ length: elements(dims) }, (_, i) => Math.sin(i)),
    )
  const g = new GraphBuilder()
  const ids = g.input('ids', 'int64', ['rows'])
  const rows = o.gather(g.initializer('table', wave([20, 32])), ids)
  g.output(o.matMul(rows, g.initializer('weight', wave([32, 16]))), 'y')
  const model = g.build()
  const run = async (bytes: Uint8Array) =>
    (await (await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })).run({ ids: int64([1, 19, 0], [3]) })).y
      .data as Float32Array
  for (const bits of [4, 8] as const) {
    const edit = new Edit(model)
    quantizeWeights(edit, layersOf(edit), { bits, block: 16 })
    const packed = edit.finish()
    assert.equal(new Set(packed.graph!.node.map(({ opType }) => opType)).has('GatherBlockQuantized'), true)
    const portable = readModel(writeModel(packed))
    makePortable(portable)
    assert.deepEqual(
      portable.graph!.node.map(({ opType }) => opType),
      ['Gather', 'MatMul', 'Identity'],
    )
    // onnxruntime's product is of 8-bit activations
    const expected = await run(writeModel(packed))
    ;(await run(writeModel(portable))).forEach((value, i) => {
      assert.ok(Math.abs(value - expected[i]) < 0.05, `${bits} bits: ${value}, packed ${expected[i]}`)
    })
  }
})

test('what is written runs in onnxruntime-web', async () => {
  const web = await import('onnxruntime-web')
  web.env.logLevel = 'error'
  for (const one of made.filter(({ name }) => ['lstm-both', 'transformer'].includes(name))) {
    const files = await write(one, 'onnx', { opset: 17 })
    const session = await web.InferenceSession.create(files['model.onnx'], { executionProviders: ['wasm'] })
    const { probabilities: answer } = await session.run({
      ids: new web.Tensor('int64', BigInt64Array.from(rows.ids.flat(), BigInt), [rows.ids.length, rows.ids[0].length]),
      lengths: new web.Tensor('int64', BigInt64Array.from(rows.lengths, BigInt), [rows.lengths.length]),
    })
    near(answer.data as Float32Array, await probabilities(writeModel(one.model)), one.name)
  }
})

test('the Keras example: a model.h5 with its tokenizer answers as Keras did', async () => {
  const folder = new URL('../../examples/keras/', import.meta.url)
  const text = (name: string) => readFileSync(new URL(name, folder), 'utf8')
  const expected = JSON.parse(text('expected.json')) as { texts: string[]; probabilities: number[] }
  const source = sourceOf({ 'model.h5': readFileSync(new URL('model.h5', folder)) })
  const { manifest, files } = await importBundle(source, { tokenizer: text('tokenizer.json'), labels: ['bad', 'good'] })
  assert.deepEqual(
    [manifest.task, manifest.family, manifest.labels],
    ['text-classification', 'keras-h5', ['bad', 'good']],
  )
  const { TextPipeline } = await import('../data/pipeline.ts')
  const pipeline = TextPipeline.load(manifest.pipeline as never, text('tokenizer.json'))
  const session = await ort.InferenceSession.create(files['model.onnx'], { logSeverityLevel: 3 })
  const encoded = await pipeline.encode(expected.texts)
  const time = Math.max(...encoded.map(({ length }) => length))
  const ids = encoded.flatMap((row) => Array.from({ length: time }, (_, t) => row[t] ?? 0))
  const { probabilities: answers } = await session.run({
    ids: int64(ids, [encoded.length, time]),
    lengths: int64(
      encoded.map(({ length }) => length),
      [encoded.length],
    ),
  })
  expected.probabilities.forEach((probability, i) => {
    const good = Number(answers.data[2 * i + 1])
    assert.ok(Math.abs(good - probability) <= 1e-5, `${expected.texts[i]}: ${good}, Keras ${probability}`)
  })
  await assert.rejects(
    importBundle(source, { tokenizer: text('tokenizer.json'), labels: ['a', 'b', 'c'] }),
    code('OPTION_INVALID', '2 classes'),
  )
  await assert.rejects(
    importBundle(source, { tokenizer: text('tokenizer.json'), length: 7 }),
    code('OPTION_INVALID', '20 ids'),
  )
  await assert.rejects(importBundle(source, { tokenizer: '{}' }), code('BUNDLE_INVALID'))
})

test('the format is known by its content; names that are none are told apart', async () => {
  const onnx = writeModel(made[0].model)
  assert.equal((await importBundle(sourceOf({ 'a.bin': onnx }), { task: 'tensor' })).manifest.family, 'onnx')
  await assert.rejects(importBundle(sourceOf({ 'a.bin': onnx }), {}), code('TASK_UNKNOWN', 'ids int64 [batch, time]'))
  const plain = { task: 'text-classification' } as const
  await assert.rejects(importBundle(sourceOf({ x: tinyGraph() }), plain), code('TASK_UNKNOWN', '--tokenizer'))
  assert.equal((await importBundle(sourceOf({ 'x.onnx': tinyGraph() }), {})).manifest.task, 'tensor')
  await assert.rejects(importBundle(sourceOf({ x: new Uint8Array(100) }), {}), code('FORMAT_UNKNOWN'))
  await assert.rejects(importBundle(sourceOf({ x: onnx }), { format: 'kers' }), code('OPTION_INVALID', 'keras'))
  await assert.rejects(importBundle(sourceOf({ x: onnx }), { tokenizer: '{}' }), code('OPTION_INVALID', 'how long'))
})
