import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blockConvolutions } from '../autograd/blocked.ts'
import { blockProducts } from '../autograd/blocked-products.ts'
import { trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { classifierInputs, families } from '../nn/families.ts'
import { pixelsInput } from '../nn/images.ts'
import { dense } from '../nn/layers.ts'
import { classifierLoss } from '../nn/losses.ts'
import { blockSize } from './block.ts'

test('a processor of this kind has a layout of blocks', { skip: process.arch !== 'x64' }, async () => {
  assert.ok([8, 16].includes(await blockSize()))
})

test('convolutions in blocks of channels give the same, and those that do not suit are left alone', async () => {
  const block = await blockSize()
  const graph = new GraphBuilder()
  const sizes = { first: [16, 3, 3, 3], second: [32, 16, 3, 3], third: [20, 32, 1, 1], bias: [32] }
  const image = graph.input('image', 'float32', ['batch', 3, 9, 7])
  const [first, second, third, bias] = (['first', 'second', 'third', 'bias'] as const).map((name) =>
    graph.input(name, 'float32', sizes[name]),
  )
  const conv = (inputs: (typeof image)[], attributes = {}) => graph.node('Conv', inputs, attributes)[0]
  const a = conv([image, first], { pads: [1, 1, 1, 1] })
  const b = conv([o.relu(a), second, bias], { strides: [2, 2], pads: [1, 0, 0, 1] })
  const c = conv([a, second], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }) // filters that are used twice
  graph.output(b, 'b')
  graph.output(c, 'c')
  graph.output(conv([b, third]), 'd') // 20 filters are no whole blocks
  const model = graph.build()
  const blocked = blockConvolutions(model, block)
  const kinds = blocked.graph!.node.filter(({ opType }) => opType === 'Conv').map(({ domain }) => domain)
  assert.deepEqual(kinds, block > 1 ? [...Array(3).fill('com.microsoft.nchwc'), ''] : ['', '', '', ''])
  assert.equal(blockConvolutions(model, 1), model)

  const { first: f, second: s, third: t } = sizes
  const feeds = {
    image: wave([2, 3, 9, 7], 0),
    first: wave(f, 1),
    second: wave(s, 2),
    third: wave(t, 3),
    bias: wave([32], 4),
  }
  const [expected, actual] = [await run(model, feeds), await run(blocked, feeds)]
  for (const name of ['b', 'c', 'd']) assertClose(actual[name], expected[name], name)
})

test('the gradients of a residual network are the plain graph’s, with rows that fill no block', async () => {
  const graph = trainingGraph((network) => {
    const labels = network.graph.input('labels', 'int64', ['batch'])
    const pixels = pixelsInput(network.graph, { channels: 1, height: 10, width: 11 })
    const config = { classes: 3, depth: 'small', width: 16, blocks: 1, stem: 'small' }
    return classifierLoss(families.resnet.build(network, pixels, config), labels)
  })
  const block = await blockSize()
  const blocked = blockConvolutions(graph.model, block, 32)
  const count = (model: typeof blocked) => model.graph!.node.filter(({ domain }) => domain !== '').length
  assert.ok(block === 1 || count(blocked) > count(blockConvolutions(graph.model, block, 4)))
  const rows = 20
  const feeds: Record<string, ort.Tensor> = {
    share: new ort.Tensor('float32', Float32Array.of(1), []),
    pixels: wave([rows, 1, 10, 11], 0),
    labels: new ort.Tensor(
      'int64',
      BigInt64Array.from({ length: rows }, (_, i) => BigInt(i % 3)),
      [rows],
    ),
  }
  for (const [i, { name, dims }] of [...graph.parameters, ...graph.frozen].entries())
    feeds[name] = wave(dims, i + 1, 1 / Math.sqrt(dims.slice(1).reduce((x, y) => x * y, 1)))
  const [expected, actual] = [await run(graph.model, feeds), await run(blocked, feeds)]
  for (const name of Object.keys(expected)) assertClose(actual[name], expected[name], name)
})

const config = { vocabulary: 20, width: 256, layers: 1, heads: 4, inner: 256, positions: 'waves', pooling: 'mean' }
const encoder = () =>
  trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const labels = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(
      families.transformer.build(network, ids, lengths, { classes: 3, dropout: 0, ...config }),
      labels,
    )
  })
const textsOf = (rows: number, time: number) =>
  [
    ['ids', [rows, time], (i: number) => i % 20],
    ['lengths', [rows], (i: number) => time - i],
    ['labels', [rows], (i: number) => i % 3],
  ] as const

test('the gradients of a Transformer are the plain graph’s where all its products run in blocks of columns', async () => {
  const graph = encoder()
  const block = await blockSize()
  const blocked = blockProducts(graph.model, block)
  assert.equal(blockProducts(graph.model, 1), graph.model)
  if (block === 1) return
  const count = (opType: string) => blocked.graph!.node.filter((node) => node.opType === opType).length
  // six products of weights: forwards, for what comes before, and, if the tokens are whole blocks, for the weights
  assert.deepEqual(['Conv', 'If'].map(count), [12, 10])
  for (const [rows, time] of [
    [4, 12],
    [3, 7],
  ]) {
    const feeds: Record<string, ort.Tensor> = { share: new ort.Tensor('float32', Float32Array.of(1), []) }
    for (const [name, dims, value] of textsOf(rows, time))
      feeds[name] = new ort.Tensor(
        'int64',
        BigInt64Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => BigInt(value(i))),
        dims,
      )
    for (const [i, { name, dims }] of graph.parameters.entries())
      feeds[name] = wave(dims, i + 1, 1 / Math.sqrt(dims.at(-1)!))
    const [expected, actual] = [await run(graph.model, feeds), await run(blocked, feeds)]
    for (const name of Object.keys(expected)) assertClose(actual[name], expected[name], `${name} of ${rows} x ${time}`)
  }
})

test('of two chains whose values would meet in the gradient of a weight, one is left as it was', async () => {
  const graph = trainingGraph((network) => {
    const layers = ['a', 'b', 'c'].map((name) => network.scope(name))
    const x = network.graph.input('x', 'float32', ['batch', 32])
    const wide = layers.reduce((y, at) => o.relu(dense(at, y, 48)), x)
    return classifierLoss(dense(network, wide, 3), network.graph.input('labels', 'int64', ['batch']))
  })
  const blocked = blockProducts(graph.model, await blockSize())
  const feeds: Record<string, ort.Tensor> = {
    share: new ort.Tensor('float32', Float32Array.of(1), []),
    x: wave([32, 32], 0),
    labels: new ort.Tensor('int64', new BigInt64Array(32), [32]),
  }
  for (const [i, { name, dims }] of graph.parameters.entries()) feeds[name] = wave(dims, i + 1, 0.2)
  const [expected, actual] = [await run(graph.model, feeds), await run(blocked, feeds)]
  assert.ok(blocked === graph.model || blocked.graph!.node.some(({ opType }) => opType === 'Conv'))
  for (const name of Object.keys(expected)) assertClose(actual[name], expected[name], name)
})

function wave(dims: readonly number[], k: number, height = 1): ort.Tensor {
  const length = dims.reduce((x, y) => x * y, 1)
  return new ort.Tensor(
    'float32',
    Float32Array.from({ length }, (_, i) => height * Math.sin(i * 0.7 + i * i * 0.01 + k)),
    dims,
  )
}

async function run(model: ModelProto, feeds: Record<string, ort.Tensor>) {
  const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
  const results = await session.run(feeds)
  await session.release()
  return results
}

/** That no two elements differ by more than 1e-5 of the largest. */
function assertClose(actual: ort.Tensor, expected: ort.Tensor, name: string) {
  assert.deepEqual(actual.dims, expected.dims, name)
  const [a, e] = [actual, expected].map(({ data }) => Array.from(data as Float32Array, Number))
  const largest = (values: number[]) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  const difference = largest(e.map((value, i) => a[i] - value))
  assert.ok(difference <= 1e-5 * largest(e), `${name} differs by ${difference}`)
}
