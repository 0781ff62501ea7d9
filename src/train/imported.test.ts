import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { create } from '@bufbuild/protobuf'
import { decompositions } from '../autograd/contrib.ts'
import { buildImported, exportImported, openImported, pathOf } from '../autograd/imported.ts'
import { gradientName, trainingGraph } from '../autograd/training.ts'
import { AthanorError } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
import { attribute } from '../graph/attributes.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import { type ModelProto, NodeProtoSchema } from '../graph/gen/onnx_pb.js'
import { operators } from '../graph/operators.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { type LossName, losses } from '../nn/losses.ts'
import { foldConstants } from './fold.ts'

/** Models that tools/golden_imported.py exported from PyTorch, with PyTorch's losses and gradients. */
const golden = JSON.parse(readFileSync(new URL('./imported.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    name: string
    shape: number[]
    loss: LossName
    value: number
    output: number[]
    target: number[]
    gradients: Record<string, [along: number, norm: number, dims: number[]]>
    onnx: string
  }[]
}
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, PyTorch ${expected}`)
const wave = (dims: readonly number[], k: number, scale = 1) =>
  float32(
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 0.7 + k) * scale),
  )
const feed = ({ dims, data }: { dims: readonly number[]; data: unknown }) =>
  new ort.Tensor('float32', data as Float32Array, dims)
const session = (model: ModelProto) => ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 4 })

for (const { name, shape, loss, value, output, target, gradients, onnx } of golden.cases) {
  test(`${name}: an exported model is differentiated as PyTorch differentiates it, and goes on unharmed`, async () => {
    const model = await foldConstants(readModel(Buffer.from(onnx, 'base64')))
    const imported = openImported(model, { trainable: /./, logits: loss === 'cross-entropy' })
    assert.equal(imported.trained.size, Object.keys(gradients).length)
    const graph = trainingGraph((network) => {
      const x = network.graph.input('x', 'float32', ['batch', ...shape.slice(1)])
      const y = buildImported(network, imported, { x })
      const classes = losses[loss].target === 'class'
      const wanted = network.graph.input('target', classes ? 'int64' : 'float32', classes ? ['batch'] : y.shape)
      return losses[loss].build(y, wanted)
    })
    const weights = Object.fromEntries([...imported.trained].map(([key, tensor]) => [pathOf(key), tensor])) as Record<
      string,
      ReturnType<typeof float32>
    >
    const wanted =
      loss === 'cross-entropy'
        ? new ort.Tensor('int64', BigInt64Array.from(target, BigInt), [target.length])
        : new ort.Tensor('float32', Float32Array.from(target), [shape[0], target.length / shape[0]])
    const results = await (await session(graph.model)).run({
      ...Object.fromEntries(Object.entries(weights).map(([key, tensor]) => [key, feed(tensor)])),
      x: feed(wave(shape, 5)),
      target: wanted,
      share: new ort.Tensor('float32', Float32Array.of(1), []),
    })
    near(Number(results.loss.data[0]), value, 1e-5 * value, 'loss')
    const turned = [...imported.trained.keys()].filter((key) => !(key in gradients))
    for (const [key, [along, norm]] of Object.entries(gradients)) {
      if (!imported.trained.has(key)) {
        // the exporter stored it transposed, under another name
        const norms = turned.map((other) => Math.hypot(...(results[gradientName(pathOf(other))].data as Float32Array)))
        assert.ok(
          norms.some((found) => Math.abs(found - norm) <= 2e-5 * Math.max(1, norm)),
          `${key}: ${norm}, ${norms}`,
        )
        continue
      }
      const found = results[gradientName(pathOf(key))].data as Float32Array
      const mark = found.reduce((sum, one, i) => sum + one * Math.sin(i + 1), 0)
      near(mark, along, 2e-5 * Math.max(1, norm), `gradient of ${key}`)
      near(Math.hypot(...found), norm, 2e-5 * Math.max(1, norm), `norm of the gradient of ${key}`)
    }

    const back = exportImported(imported, weights as Record<string, { data: Float32Array }>, loss === 'cross-entropy')
    const served = await (await session(back)).run({ x: feed(wave(shape, 5)) })
    const answers = served[imported.output].data as Float32Array
    for (const [i, expected] of output.entries())
      near(answers[i], expected, 1e-5 * Math.max(1, Math.abs(expected)), `output ${i}`)
    if (loss !== 'cross-entropy') return
    const probabilities = served.probabilities.data as Float32Array
    const classes = output.length / shape[0]
    near(
      probabilities.slice(0, classes).reduce((a, b) => a + b, 0),
      1,
      1e-5,
      'probabilities',
    )
  })
}

test('a new head: its own weights, everything else as it was', async () => {
  for (const { name, onnx, shape } of golden.cases) {
    const model = await foldConstants(readModel(Buffer.from(onnx, 'base64')))
    const imported = openImported(model, { trainable: /^$/, head: 7 })
    assert.ok(
      [...imported.trained.values()].every((tensor) => !('data' in tensor)),
      `${name}: the head alone is trained`,
    )
    const weights = Object.fromEntries(
      [...imported.trained].map(([key, { dims }], k) => [pathOf(key), wave(dims, k)]),
    ) as Record<string, { data: Float32Array }>
    const back = exportImported(imported, weights, true)
    const { probabilities } = await (await session(back)).run({ x: feed(wave(shape, 5)) })
    assert.deepEqual(probabilities.dims, [shape[0], 7])
  }
})

test('what cannot be trained is told before anything runs', () => {
  const build = (add: (x: Value, w: Value) => Value) => {
    const graph = new GraphBuilder()
    const x = graph.input('x', 'float32', [1, 4])
    const w = graph.initializer('w', wave([4, 4], 1))
    graph.output(add(x, w), 'y')
    return graph.build()
  }
  const plain = build((x, w) => o.matMul(x, w))
  const open = (model: ModelProto, more = {}) => openImported(model, { trainable: /./, ...more })
  assert.deepEqual([...open(plain).trained.keys()], ['w'])
  assert.throws(() => open(plain, { output: 'z' }), code('OPTION_INVALID', 'Did you mean "y"'))
  assert.throws(() => open(plain, { trainable: /nothing/ }), code('OPTION_INVALID', 'it has w'))
  const strange = build((x, w) => {
    const up = x.graph.node('CumSum', [
      o.matMul(x, w),
      x.graph.constant({ dtype: 'int64', dims: [], data: BigInt64Array.of(1n) }),
    ])[0]
    return x.graph.node('Trilu', [x.graph.node('Hardmax', [up])[0]])[0]
  })
  assert.throws(() => open(strange), code('GRADIENT_MISSING', 'CumSum, Hardmax, Trilu'))
  // before the first trained weight no rule is needed
  const before = build((x, w) => o.matMul(x.graph.node('Hardmax', [x])[0], w))
  assert.equal(open(before).trained.size, 1)
  const headless = build((x, w) => o.mul(x, o.reduceSum(w, [0])))
  assert.throws(() => open(headless, { head: 3 }), code('UNSUPPORTED', 'a new head'))
})

/** Fused operators against onnxruntime's own kernels for them. */
const fused: Record<string, { inputs: number[][]; attributes?: Parameters<typeof attribute>[1][][] }> = {
  'com.microsoft:Gelu': { inputs: [[3, 4]] },
  'com.microsoft:FastGelu': { inputs: [[3, 4], [4]] },
  'com.microsoft:BiasGelu': { inputs: [[3, 4], [4]] },
  'com.microsoft:QuickGelu': { inputs: [[3, 4]] },
  'com.microsoft:FusedMatMul': {
    inputs: [
      [2, 4, 3],
      [2, 5, 4],
    ],
    attributes: [
      ['transA', 1],
      ['transB', 1],
      ['alpha', { float: 0.5 }],
    ],
  },
  'com.microsoft:FusedGemm': {
    inputs: [[3, 4], [4, 5], [5]],
    attributes: [
      ['activation', 'Relu'],
      ['alpha', { float: 0.7 }],
    ],
  },
  'com.microsoft:FusedConv': {
    inputs: [[2, 3, 5, 5], [4, 3, 3, 3], [4]],
    attributes: [
      ['activation', 'LeakyRelu'],
      ['activation_params', [0.25]],
      ['pads', [1, 1, 1, 1]],
    ],
  },
  'com.microsoft:SkipLayerNormalization': {
    inputs: [[2, 3, 8], [2, 3, 8], [8], [8], [8]],
    attributes: [['epsilon', { float: 1e-5 }]],
  },
  'com.microsoft:SkipSimplifiedLayerNormalization': {
    inputs: [[2, 3, 8], [2, 3, 8], [8]],
    attributes: [['epsilon', { float: 1e-5 }]],
  },
  SimplifiedLayerNormalization: {
    inputs: [[2, 3, 8], [8]],
    attributes: [
      ['axis', -1],
      ['epsilon', { float: 1e-5 }],
    ],
  },
  'com.microsoft:Attention': {
    inputs: [[2, 5, 8], [8, 24], [24]],
    attributes: [
      ['num_heads', 2],
      ['unidirectional', 1],
    ],
  },
}

for (const [name, { inputs, attributes = [] }] of Object.entries(fused)) {
  test(`${name} taken apart gives what onnxruntime's own kernel gives`, async () => {
    const graph = new GraphBuilder()
    const x = inputs.map((dims, i) => graph.input(`x${i}`, 'float32', dims))
    const [domain, opType] = name.includes(':') ? name.split(':') : ['', name]
    const proto = create(NodeProtoSchema, {
      opType,
      domain,
      name: 'one',
      output: ['y'],
      attribute: attributes.map(([key, value]) => attribute(key as string, value)),
    })
    const [apart] = o.within(graph, () => decompositions[name](graph, proto, x, 20))
    operators[name] ??= () => [{ dtype: 'float32', shape: apart.shape }]
    graph.output(apart, 'apart')
    graph.output(graph.copy(proto, x)[0], 'whole')
    const feeds = Object.fromEntries(inputs.map((dims, i) => [`x${i}`, feed(wave(dims, i))]))
    const results = await (await session(graph.build())).run(feeds)
    const whole = results.whole.data as Float32Array
    for (const [i, value] of (results.apart.data as Float32Array).entries())
      near(value, whole[i], 2e-5 * Math.max(1, Math.abs(whole[i])), `element ${i}`)
  })
}

/** Recurrent nodes: time 5, batch 3, width 2, hidden 4. */
const recurrent: { operator: 'LSTM' | 'GRU' | 'RNN'; direction: string; lengths?: number[]; starts?: boolean }[] = [
  { operator: 'LSTM', direction: 'bidirectional', starts: true },
  { operator: 'LSTM', direction: 'reverse' },
  { operator: 'GRU', direction: 'bidirectional', lengths: [5, 2, 3] },
  { operator: 'RNN', direction: 'reverse', lengths: [1, 5, 4], starts: true },
]
for (const { operator, direction, lengths, starts } of recurrent) {
  test(`${operator} ${direction}${lengths ? ' over several lengths' : ''} taken apart gives every output of the kernel`, async () => {
    const graph = new GraphBuilder()
    const [gates, directions] = [{ LSTM: 4, GRU: 3, RNN: 1 }[operator] * 4, direction === 'bidirectional' ? 2 : 1]
    const states = operator === 'LSTM' ? 2 : 1
    const shapes = [
      [5, 3, 2],
      [directions, gates, 2],
      [directions, gates, 4],
      [directions, 2 * gates],
    ]
    const given = shapes.map((dims, i) => graph.input(`x${i}`, 'float32', dims))
    const sizes = lengths && graph.constant({ dtype: 'int32', dims: [3], data: Int32Array.from(lengths) })
    const start = [directions, 3, 4]
    const first = Array.from({ length: starts ? states : 0 }, (_, i) => graph.input(`s${i}`, 'float32', start))
    const names = ['y', 'h', 'c'].slice(0, lengths ? 2 : 1 + states)
    const proto = create(NodeProtoSchema, {
      opType: operator,
      name: 'one',
      output: names,
      attribute: [
        attribute('hidden_size', 4),
        attribute('direction', direction),
        ...(operator === 'GRU' ? [attribute('linear_before_reset', 1)] : []),
      ],
    })
    const inputs = [...given, sizes, ...first]
    const apart = o.within(graph, () => decompositions[operator](graph, proto, inputs, 20))
    const whole = graph.copy(proto, inputs, names)
    assert.equal(apart.length, names.length)
    for (const [i, name] of names.entries()) {
      graph.output(apart[i], `apart ${name}`)
      graph.output(whole[i], `whole ${name}`)
    }
    const feeds = Object.fromEntries([
      ...shapes.map((dims, i) => [`x${i}`, feed(wave(dims, i))]),
      ...first.map((_, i) => [`s${i}`, feed(wave(start, 9 + i))]),
    ])
    const results = await (await session(graph.build())).run(feeds)
    for (const name of names) {
      const expected = results[`whole ${name}`]
      assert.deepEqual(results[`apart ${name}`].dims, expected.dims)
      for (const [i, value] of (results[`apart ${name}`].data as Float32Array).entries())
        near(value, (expected.data as Float32Array)[i], 1e-5, `${name}, element ${i}`)
    }
  })
}

test('recurrent nodes of other kinds are refused by what is not known of them', () => {
  const graph = new GraphBuilder()
  const inputs = [
    [5, 3, 2],
    [1, 12, 2],
    [1, 12, 4],
  ].map((dims, i) => graph.input(`x${i}`, 'float32', dims))
  const apart =
    (...attributes: ReturnType<typeof attribute>[]) =>
    () =>
      decompositions.GRU(
        graph,
        create(NodeProtoSchema, { opType: 'GRU', output: ['y'], attribute: attributes }),
        inputs,
        20,
      )
  assert.throws(apart(), code('UNSUPPORTED', 'resets before its product'))
  const usual = attribute('linear_before_reset', 1)
  assert.throws(apart(usual, attribute('activations', ['Sigmoid', 'Relu'])), code('UNSUPPORTED', 'the activation Relu'))
  assert.throws(apart(usual, attribute('clip', 2.5)), code('UNSUPPORTED', 'clips'))
})
