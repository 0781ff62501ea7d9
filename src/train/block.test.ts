import assert from 'node:assert/strict'
import { test } from 'node:test'
import ort from 'onnxruntime-node'
import { blockConvolutions } from '../autograd/blocked.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { blockSize } from './block.ts'

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

  const wave = (dims: number[], k: number) => {
    const data = Float32Array.from({ length: dims.reduce((x, y) => x * y, 1) }, (_, i) => Math.sin(i * 0.7 + k))
    return new ort.Tensor('float32', data, dims)
  }
  const { first: f, second: s, third: t } = sizes
  const feeds = {
    image: wave([2, 3, 9, 7], 0),
    first: wave(f, 1),
    second: wave(s, 2),
    third: wave(t, 3),
    bias: wave([32], 4),
  }
  const run = async (what: typeof model) =>
    (await ort.InferenceSession.create(writeModel(what), { logSeverityLevel: 3 })).run(feeds)
  const [expected, actual] = [await run(model), await run(blocked)]
  for (const name of ['b', 'c', 'd']) {
    const values = actual[name].data as Float32Array
    ;(expected[name].data as Float32Array).forEach((value, i) => {
      assert.ok(
        Math.abs(values[i] - value) <= 1e-4 * Math.max(1, Math.abs(value)),
        `${name}[${i}]: ${values[i]}, ${value}`,
      )
    })
  }
})
