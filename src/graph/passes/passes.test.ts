import assert from 'node:assert/strict'
import { test } from 'node:test'
import ort from '../../base/onnxruntime.ts'
import { GraphBuilder, type Value } from '../builder.ts'
import { writeModel } from '../codec.ts'
import type { ModelProto } from '../gen/onnx_pb.js'
import * as o from '../ops.ts'
import { float32 } from '../tensor.ts'
import { mergeBatchNorm } from './batch-norm.ts'
import { clipWeights } from './clip.ts'
import { mergeLora } from './lora.ts'
import { keepOutputs, removeDeadCode } from './outputs.ts'

const wave = (dims: number[], k = 0, centre = 0) =>
  float32(
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => centre + Math.sin(i * 1.3 + k) * 0.7),
  )
const operators = (model: ModelProto) => model.graph!.node.map(({ opType }) => opType)

async function outputs(model: ModelProto, x: ReturnType<typeof wave>): Promise<Record<string, number[]>> {
  const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 4 })
  const results = await session.run({ x: new ort.Tensor('float32', x.data as Float32Array, x.dims) })
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, [...(data as Float32Array)]]))
}
async function same(before: ModelProto, after: ModelProto, x: ReturnType<typeof wave>) {
  const [a, b] = [(await outputs(before, x)).y, (await outputs(after, x)).y]
  const most = Math.max(...a.map((value, i) => Math.abs(value - b[i])))
  assert.ok(a.length > 0 && most < 2e-5, `differs by ${most}`)
}
const normalised = (g: GraphBuilder, value: Value, channels: number) => {
  const parts = [wave([channels], 1, 1), wave([channels], 2), wave([channels], 3), wave([channels], 4, 1)]
  const stored = parts.map((part, i) => g.initializer(`norm${i}`, part))
  return g.node('BatchNormalization', [value, ...stored], { epsilon: { float: 1e-3 } })[0]
}

test('batch normalisation merges into Conv and Gemm, with and without a bias, and stays where others read the layer', async () => {
  for (const bias of [true, false]) {
    const g = new GraphBuilder()
    const x = g.input('x', 'float32', ['n', 3, 8, 8])
    const inputs = [x, g.initializer('w', wave([4, 3, 3, 3])), ...(bias ? [g.initializer('b', wave([4], 5))] : [])]
    const layer = g.node('Conv', inputs, { pads: [1, 1, 1, 1] })[0]
    g.output(o.relu(normalised(g, layer, 4)), 'y')
    const before = g.build()
    const after = mergeBatchNorm(before)
    assert.deepEqual(operators(after), ['Conv', 'Relu', 'Identity'])
    await same(before, after, wave([2, 3, 8, 8], 7))
  }
  for (const transB of [true, false]) {
    const g = new GraphBuilder()
    const x = g.input('x', 'float32', ['n', 5])
    const weight = g.initializer('w', wave(transB ? [4, 5] : [5, 4]))
    g.output(normalised(g, o.gemm(x, weight, g.initializer('b', wave([4], 5)), { transB }), 4), 'y')
    const before = g.build()
    assert.deepEqual(operators(mergeBatchNorm(before)), ['Gemm', 'Identity'])
    await same(before, mergeBatchNorm(before), wave([6, 5], 2))
  }
  const g = new GraphBuilder()
  const layer = o.gemm(g.input('x', 'float32', ['n', 5]), g.initializer('w', wave([5, 4])))
  g.output(o.add(layer, normalised(g, layer, 4)), 'y')
  assert.ok(operators(mergeBatchNorm(g.build())).includes('BatchNormalization'))
})

test('low-rank adapters merge into their weights, scaled or not, on either side of the sum', async () => {
  for (const [scaled, first, gemm] of [
    [true, true, false],
    [false, false, false],
    [true, false, true],
  ] as const) {
    const g = new GraphBuilder()
    const x = g.input('x', 'float32', ['n', 6])
    const main = gemm
      ? o.gemm(x, g.initializer('w', wave([8, 6])), g.initializer('bias', wave([8])), { transB: true })
      : o.matMul(x, g.initializer('w', wave([6, 8])))
    const low = o.matMul(o.matMul(x, g.initializer('a', wave([6, 2], 1))), g.initializer('b', wave([2, 8], 2)))
    const side = scaled ? o.mul(low, 0.25) : low
    g.output(first ? o.add(main, side) : o.add(side, main), 'y')
    const before = g.build()
    const after = mergeLora(before)
    assert.deepEqual(operators(after), [gemm ? 'Gemm' : 'MatMul', 'Identity'])
    await same(before, after, wave([3, 6], 4))
  }
  const g = new GraphBuilder()
  const [x, other] = [g.input('x', 'float32', ['n', 6]), g.input('other', 'float32', ['n', 6])]
  const low = o.matMul(o.matMul(other, g.initializer('a', wave([6, 2], 1))), g.initializer('b', wave([2, 8], 2)))
  g.output(o.add(o.matMul(x, g.initializer('w', wave([6, 8]))), low), 'y')
  assert.equal(
    operators(mergeLora(g.build())).filter((name) => name === 'MatMul').length,
    3,
    'of another input: it stays',
  )
})

test('weights are clipped to a percentile of their magnitudes, and biases are not', () => {
  const g = new GraphBuilder()
  const values = Array.from({ length: 100 }, (_, i) => (i === 3 ? -9 : i === 7 ? 5 : (i % 10) / 10))
  const x = g.input('x', 'float32', ['n', 10])
  g.output(o.gemm(x, g.initializer('w', float32([10, 10], values)), g.initializer('b', wave([10], 0, 20))), 'y')
  const { model, clipped } = clipWeights(g.build(), 98)
  const [w] = model.graph!.initializer
  const after = new Float32Array(new Uint8Array(w.rawData).buffer)
  assert.equal(clipped, 2)
  assert.deepEqual(
    [after[3], after[7]].map((v) => v.toFixed(3)),
    ['-0.900', '0.900'],
  )
})

test('outputs that are not kept go with all that only they needed; the source stays as it was', async () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['n', 4])
  g.output(o.matMul(x, g.initializer('used', wave([4, 2]))), 'y')
  g.output(o.matMul(x, g.initializer('unused', wave([4, 3]))), 'z')
  const before = g.build()
  const after = keepOutputs(before, ['y'])
  assert.deepEqual([after.graph!.node.length, before.graph!.node.length], [2, 4])
  assert.deepEqual(
    after.graph!.initializer.map(({ name }) => name),
    ['used'],
  )
  assert.deepEqual(Object.keys(await outputs(after, wave([2, 4]))), ['y'])
  assert.throws(() => keepOutputs(before, ['w']), { code: 'MODEL_INVALID' })
  assert.equal(removeDeadCode(before).graph!.node.length, 4)
})
