import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import ort from '../base/onnxruntime.ts'
import type { Attributes } from '../graph/attributes.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import { ModelProtoSchema } from '../graph/gen/onnx_pb.js'
import { operators } from '../graph/operators.ts'
import * as o from '../graph/ops.ts'
import { float32, int64 } from '../graph/tensor.ts'
import { gradients } from './gradients.ts'
import { rules } from './rules.ts'

/** How to exercise a rule: shapes of the differentiable inputs for sizes (n, m), and the expression. */
interface Case {
  inputs: (n: number, m: number) => number[][]
  build: (x: Value[], n: number, m: number) => Value
  /** Values are drawn from here; the default keeps away from kinks at zero. */
  range?: [number, number]
  dtype?: 'float32' | 'float64'
  /** Draw distinct values, far enough apart that a small step changes no order. */
  distinct?: boolean
  /** The step of the differences and how far they may be off; linear operators allow a large step, and so exactness. */
  step?: [number, number]
}
const plain = (build: (x: Value) => Value, more: Partial<Case> = {}): Case => ({
  inputs: (n, m) => [[n, m]],
  build: ([x]) => build(x),
  ...more,
})
const pair = (build: (a: Value, b: Value) => Value, more: Partial<Case> = {}): Case => ({
  inputs: (n, m) => [[n, m], [m]], // the second is broadcast
  build: ([a, b]) => build(a, b),
  ...more,
})
const positive: Partial<Case> = { range: [0.5, 2] }
/** Resized to (height, width) through the `sizes` input. */
function resized(x: Value, mode: string, transformation: string, sizes: number[]): Value {
  const attributes = { mode, coordinate_transformation_mode: transformation, nearest_mode: 'floor' }
  const all = o.ints(x, [...x.shape.slice(0, 2).map(Number), ...sizes])
  return x.graph.node('Resize', [x, undefined, undefined, all], attributes)[0]
}
const indices = (x: Value, dims: number[], values: number[]) => o.constant(x, int64(dims, values))

/** Linear in each input, single precision. */
const linear = { dtype: 'float32', step: [0.5, 1e-3] } as const satisfies Partial<Case>
const single: Partial<Case> = { dtype: 'float32' }
const node =
  (op: string, attributes: Attributes = {}, domain = '') =>
  (...x: Value[]) =>
    x[0].graph.node(op, x, attributes, 1, domain)[0]
const sided: Partial<Case> = { dtype: 'float32', distinct: true, step: [1e-3, 2e-2] }
/** A convolution of x (2, channels, …size) with filters (…, …kernel) and a bias. */
const convolution = (
  size: number[],
  weight: number[],
  channels: number,
  attributes: Attributes,
  op = 'Conv',
): Case => ({
  inputs: () => [
    [2, channels, ...size],
    weight,
    [op === 'Conv' ? weight[0] : weight[1] * Number(attributes.group ?? 1)],
  ],
  build: ([x, w, b]) => node(op, attributes)(x, w, b),
  ...linear,
})
const pooling = (op: string, size: number[], attributes: Attributes, more: Partial<Case> = linear): Case => ({
  inputs: () => [[2, 2, ...size]],
  build: ([x]) => node(op, attributes)(x),
  ...more,
})

const cases: Record<string, Case[]> = {
  Conv: [
    convolution([5, 4], [3, 2, 3, 3], 2, { pads: [1, 1, 1, 1] }),
    convolution([6, 5], [3, 2, 3, 2], 2, { strides: [2, 3], pads: [1, 0, 0, 1] }),
    convolution([6, 6], [2, 2, 2, 3], 2, { dilations: [2, 1], pads: [3, 2, 0, 2] }),
    convolution([7, 6], [4, 2, 3, 3], 4, { group: 2, strides: [2, 1], dilations: [1, 2], pads: [1, 2, 1, 2] }),
    convolution([4, 4], [4, 1, 3, 3], 2, { group: 2, pads: [1, 1, 1, 1] }),
    convolution([5, 5], [3, 2, 1, 1], 2, { strides: [2, 2] }),
    convolution([3, 3], [3, 2, 1, 1], 2, {}),
    convolution([7], [3, 2, 3], 2, { strides: [2], pads: [2, 1] }),
    convolution([20, 16], [2, 1, 3, 3], 1, { pads: [1, 1, 1, 1] }),
    convolution([6, 5], [2, 2, 3, 2], 2, { strides: [2, 2], auto_pad: 'SAME_UPPER' }),
    convolution([6, 5], [2, 2, 3, 2], 2, { auto_pad: 'SAME_LOWER' }),
    convolution([3, 3, 3], [2, 2, 2, 2, 2], 2, { strides: [1, 2, 1] }),
  ],
  ConvTranspose: [
    convolution(
      [4, 3],
      [2, 3, 3, 3],
      2,
      { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 0] },
      'ConvTranspose',
    ),
    convolution([3, 3], [4, 1, 2, 3], 4, { group: 2, dilations: [2, 1] }, 'ConvTranspose'),
    convolution([5], [2, 3, 4], 2, { strides: [3], pads: [1, 0] }, 'ConvTranspose'),
  ],
  MaxPool: [
    pooling('MaxPool', [5, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }, { distinct: true }),
    pooling('MaxPool', [5, 5], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }, { distinct: true }),
    pooling('MaxPool', [7], { kernel_shape: [3], dilations: [2] }, { distinct: true }),
    {
      inputs: () => [[2, 2, 4, 4]],
      build: ([x]) => x.graph.node('MaxPool', [x], { kernel_shape: [2, 2], strides: [1, 2] }, 2)[0],
      distinct: true,
    },
  ],
  AveragePool: [
    pooling('AveragePool', [4, 6], { kernel_shape: [2, 3], strides: [2, 3] }),
    pooling('AveragePool', [5, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
    pooling('AveragePool', [5, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], count_include_pad: 1 }),
    pooling('AveragePool', [5, 6], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }),
    pooling('AveragePool', [6, 6], {
      kernel_shape: [3, 3],
      strides: [2, 2],
      pads: [1, 1, 0, 0],
      ceil_mode: 1,
      count_include_pad: 1,
    }),
    pooling('AveragePool', [6, 5], { kernel_shape: [3, 2], strides: [2, 2], auto_pad: 'SAME_UPPER' }),
    pooling('AveragePool', [7], { kernel_shape: [3], strides: [2] }),
  ],
  GlobalAveragePool: [pooling('GlobalAveragePool', [3, 4], {})],
  GlobalMaxPool: [pooling('GlobalMaxPool', [3, 4], {}, sided)],
  BatchNormalization: [
    {
      inputs: () => [[3, 2, 2, 2], [2], [2], [2], [2]],
      build: ([x, s, b, m, v]) => node('BatchNormalization')(x, s, b, m, o.add(o.mul(v, v), 0.5)),
    },
    {
      inputs: () => [[3, 2, 2, 2], [2], [2]],
      build: ([x, s, b]) => {
        const [zeros, ones] = [0, 1].map((value) =>
          o.constant(x, { dtype: 'float64', dims: [2], data: Float64Array.of(value, value) }),
        )
        return x.graph.node('BatchNormalization', [x, s, b, zeros, ones], { training_mode: 1 }, 3)[0]
      },
    },
    {
      inputs: () => [[4, 2], [2], [2], [2]],
      build: ([x, s, b, m]) =>
        node('BatchNormalization')(
          x,
          s,
          b,
          m,
          o.constant(x, { dtype: 'float64', dims: [2], data: Float64Array.of(1, 2) }),
        ),
    },
  ],
  InstanceNormalization: [
    { inputs: () => [[2, 2, 3, 3], [2], [2]], build: ([x, s, b]) => node('InstanceNormalization')(x, s, b), ...single },
  ],
  LeakyRelu: [plain(node('LeakyRelu', { alpha: 0.2 }), sided)],
  ThresholdedRelu: [plain(node('ThresholdedRelu', { alpha: 0.3 }), sided)],
  PRelu: [
    { inputs: (n, m) => [[n, m], [m]], build: ([x, a]) => node('PRelu')(x, a), ...sided },
    {
      inputs: (n, m) => [
        [n, m, 2],
        [m, 1],
      ],
      build: ([x, a]) => node('PRelu')(x, a),
      ...sided,
    },
  ],
  Elu: [plain(node('Elu', { alpha: 0.7 }), single)],
  Celu: [plain(node('Celu', { alpha: 0.7 }), single)],
  Selu: [plain(node('Selu'), sided)],
  HardSigmoid: [plain(node('HardSigmoid', { alpha: 0.9 }), sided)],
  HardSwish: [
    [-2.9, 2.9],
    [3.1, 4],
    [-4, -3.1],
  ].map(([low, high]) => plain(node('HardSwish'), { ...single, range: [low, high] })),
  Softplus: [plain(node('Softplus'), single)],
  Softsign: [plain(node('Softsign'), single)],
  Mish: [plain(node('Mish'), single)],
  Sin: [plain(o.sin)],
  Cos: [plain(o.cos, single)],
  Dropout: [plain(node('Dropout'))],
  Pad: [
    plain((x) => node('Pad')(x, o.ints(x, [1, 0, 2, 1]))),
    plain((x) => node('Pad')(x, o.ints(x, [1, 2]), o.scalarLike(x, 0.5), o.ints(x, [-1]))),
    {
      inputs: (n, m) => [[n + 2, m + 2]],
      build: ([x]) => node('Pad', { mode: 'reflect' })(x, o.ints(x, [1, 2, 2, 0])),
    },
    plain((x) => node('Pad', { mode: 'edge' })(x, o.ints(x, [1, 0, 0, 2]))),
    { inputs: (n, m) => [[n + 1, m + 2]], build: ([x]) => o.pad(x, [-1, 0, 0, -1]) },
  ],
  Tile: [plain((x) => o.tile(x, [2, 3]))],
  Resize: [
    {
      inputs: (n, m) => [[1, 2, n + 1, m + 1]],
      build: ([x], n, m) => resized(x, 'nearest', 'asymmetric', [2 * n + 2, 3 * m + 3]),
      ...linear,
    },
    {
      inputs: (n, m) => [[1, 2, n + 1, m + 2]],
      build: ([x], n, m) => resized(x, 'linear', 'half_pixel', [2 * n + 1, m + 1]),
      ...linear,
    },
    { inputs: () => [[2, 1, 3, 4]], build: ([x]) => resized(x, 'linear', 'align_corners', [5, 7]), ...linear },
    { inputs: () => [[1, 1, 4, 5]], build: ([x]) => resized(x, 'cubic', 'half_pixel', [7, 8]), ...linear },
    {
      inputs: (n, m) => [[1, 2, n, m]],
      build: ([x]) =>
        node('Resize', { mode: 'nearest' })(
          x,
          o.constant(x, float32([0], [])),
          o.constant(x, float32([4], [1, 1, 2, 2])),
        ),
      ...linear,
    },
  ],
  Einsum: [
    {
      inputs: (n, m) => [
        [2, n, m],
        [m, 3],
      ],
      build: (x) => node('Einsum', { equation: 'bij,jk->bik' })(...x),
    },
    {
      inputs: (n, m) => [
        [n, m],
        [n, m],
      ],
      build: (x) => node('Einsum', { equation: 'ij,ij->j' })(...x),
    },
    { inputs: (n, m) => [[n, m], [m]], build: (x) => node('Einsum', { equation: 'ij,k->k' })(...x) },
    { inputs: (n, m) => [[n, m, 2]], build: (x) => node('Einsum', { equation: 'abc -> ca' })(...x) },
  ],
  Add: [pair(o.add)],
  Sub: [pair(o.sub), pair((a, b) => o.sub(b, a))],
  Mul: [pair(o.mul)],
  Div: [pair(o.div, positive)],
  Pow: [pair(o.pow, positive), plain((x) => o.pow(x, 3))],
  Sum: [{ inputs: (n, m) => [[n, m], [m], [n, 1]], build: (x) => o.sum(...x) }],
  Max: [pair(o.max, { distinct: true })],
  Min: [pair(o.min, { distinct: true })],
  Neg: [plain(o.neg)],
  Exp: [plain(o.exp)],
  Log: [plain(o.log, positive)],
  Sqrt: [plain(o.sqrt, positive)],
  Reciprocal: [plain(o.reciprocal, positive)],
  Abs: [plain(o.abs, { distinct: true })],
  Erf: [plain(o.erf, { dtype: 'float32' })],
  Gelu: [
    plain((x) => o.gelu(x), { dtype: 'float32' }),
    plain((x) => o.gelu(x, 'tanh'), { dtype: 'float32' }),
    // items so large that they are worked on one by one
    {
      inputs: (n, m) => [[n, m]],
      build: ([x], n, m) => o.gelu(o.expand(o.unsqueeze(x, [2]), [n, m, 512])),
      dtype: 'float32',
    },
  ],
  Tanh: [plain(o.tanh)],
  Sigmoid: [plain(o.sigmoid)],
  Relu: [plain(o.relu, { distinct: true })],
  Identity: [plain(o.identity)],
  Cast: [plain((x) => o.cast(o.cast(x, 'float32'), x.dtype), { dtype: 'float32' })],
  Clip: [plain((x) => o.clip(x, -0.51, 0.52), { distinct: true })],
  MatMul: [
    {
      inputs: (n, m) => [
        [2, n, m],
        [m, 3],
      ],
      build: ([a, b]) => o.matMul(a, b),
    },
    {
      inputs: (n, m) => [
        [2, n, m],
        [2, m, 3],
      ],
      build: ([a, b]) => o.matMul(a, b),
    },
    {
      inputs: (n, m) => [
        [n, m],
        [2, m, 3],
      ],
      build: ([a, b]) => o.matMul(a, b),
    },
    { inputs: (n, m) => [[m], [n, m, 3]], build: ([a, b]) => o.matMul(a, b) },
    { inputs: (n, m) => [[n, m], [m]], build: ([a, b]) => o.matMul(a, b) },
    {
      inputs: (n, m) => [
        [n, m],
        [m, 3],
      ],
      build: ([a, b]) => o.matMul(a, b),
      dtype: 'float32',
    },
  ],
  Gemm: [false, true].flatMap((transA) =>
    [false, true].map(
      (transB): Case => ({
        inputs: (n, m) => [transA ? [m, n] : [n, m], transB ? [3, m] : [m, 3], [3]],
        build: ([a, b, c]) => o.gemm(a, b, c, { transA, transB, alpha: 0.5, beta: 2 }),
      }),
    ),
  ),
  'com.microsoft:FusedMatMul': [false, true].flatMap((transA) =>
    [false, true].map(
      (transB): Case => ({
        inputs: (n, m) => [
          [2, ...(transA ? [m, n] : [n, m])],
          [1, ...(transB ? [3, m] : [m, 3])], // broadcast
        ],
        build: ([a, b]) => o.fusedMatMul(a, b, { transA, transB, alpha: 0.5 }),
        dtype: 'float32',
      }),
    ),
  ),
  Softmax: [plain((x) => o.softmax(x)), plain((x) => o.softmax(x, 0))],
  LogSoftmax: [plain((x) => o.logSoftmax(x))],
  LayerNormalization: [false, true].map((statistics) => ({
    inputs: (n, m) => [[2, n, m + 1], [m + 1], [m + 1]],
    build: ([x, s, b]) => o.layerNormalization(x, s, b, { statistics }),
    dtype: 'float32',
  })),
  SimplifiedLayerNormalization: [
    {
      inputs: (n, m) => [[2, n, m + 1], [m + 1]],
      build: ([x, s]) => o.simplifiedLayerNormalization(x, s, 1e-5),
      dtype: 'float32',
    },
  ],
  ReduceSum: [
    plain((x) => o.reduceSum(x, [1])),
    plain((x) => o.reduceSum(x)),
    plain((x) => o.reduceSum(x, [-2], true)),
  ],
  ReduceMean: [plain((x) => o.reduceMean(x, [0])), plain((x) => o.reduceMean(x))],
  ReduceSumSquare: [plain((x) => o.reduceSumSquare(x, [1]))],
  ReduceMax: [plain((x) => o.reduceMax(x, [1]), { distinct: true })],
  ReduceMin: [plain((x) => o.reduceMin(x, [0], true), { distinct: true })],
  Reshape: [plain((x) => o.reshape(x, [-1]))],
  Flatten: [plain((x) => x.graph.node('Flatten', [x], { axis: 1 })[0])],
  Squeeze: [{ inputs: (n, m) => [[n, 1, m]], build: ([x]) => o.squeeze(x, [1]) }],
  Unsqueeze: [plain((x) => o.unsqueeze(x, [0, -1]))],
  Expand: [{ inputs: (n, m) => [[n, 1, m]], build: ([x], n, m) => o.expand(x, [2, n, 3, m]) }],
  Transpose: [
    { inputs: (n, m) => [[n, 2, m]], build: ([x]) => o.transpose(x, [2, 0, 1]) },
    plain((x) => o.transpose(x)),
  ],
  Concat: [
    {
      inputs: (n, m) => [
        [n, m],
        [n, 2],
      ],
      build: (x) => o.concat(x, 1),
    },
  ],
  Split: [{ inputs: (n, m) => [[n, m + 2]], build: ([x], _n, m) => o.split(x, [2, m], 1)[1] }],
  Slice: [
    { inputs: (n, m) => [[n + 2, m]], build: ([x]) => o.slice(x, [1], [-1], [0]) },
    { inputs: (n, m) => [[n + 2, m + 3]], build: ([x]) => o.slice(x, [0, 1], [2 ** 31, 4], [0, 1], [2, 1]) },
  ],
  Gather: [
    { inputs: (n, m) => [[n + 1, m]], build: ([x]) => o.gather(x, indices(x, [2, 2], [0, 1, 1, 0])) },
    { inputs: (n, m) => [[n, m + 1, 2]], build: ([x]) => o.gather(x, indices(x, [3], [1, 0, 1]), 1) },
    { inputs: (n, m) => [[n, m + 1, 2]], build: ([x]) => o.gather(x, indices(x, [2, 2], [1, 0, 1, 1]), 1) },
    { inputs: (n) => [[n + 1]], build: ([x]) => o.gather(x, indices(x, [3], [1, 0, 1])) },
  ],
  GatherElements: [
    {
      inputs: (_n, m) => [[2, m]],
      build: ([x], _n, m) => o.gatherElements(x, indices(x, [1, m], Array(m).fill(1)), 0),
    },
  ],
  ReverseSequence: [
    { inputs: (n, m) => [[n + 1, 2, m]], build: ([x], n) => o.reverseSequence(x, indices(x, [2], [n, n + 1])) },
  ],
  Where: [pair((a, b) => o.where(o.greater(a, 0.05), a, b), { distinct: true })],
}

test('every rule has a case here and a shape rule', () => {
  assert.deepEqual(Object.keys(cases).sort(), Object.keys(rules).sort())
  for (const operator of Object.keys(rules)) assert.ok(operator in operators, `${operator} has no shape rule`)
})

test('a row that is gathered many times gets the gradient of each, with two threads', async () => {
  const [rows, width, taken] = [4, 64, 20_000]
  const graph = new GraphBuilder()
  const [x, ids] = [graph.input('x', 'float32', [rows, width]), graph.input('ids', 'int64', [taken])]
  const [dx] = gradients(o.reduceSum(o.gather(x, ids)), [x])
  graph.output(dx, 'dx')
  const run = await session(graph, 2)
  const result = await run({
    x: new ort.Tensor('float32', new Float32Array(rows * width), [rows, width]),
    ids: new ort.Tensor(
      'int64',
      BigInt64Array.from({ length: taken }, (_, i) => BigInt(i % rows)),
      [taken],
    ),
  })
  assert.ok((result.dx.data as Float32Array).every((value) => value === taken / rows))
})

type Run = (feeds: Record<string, ort.Tensor>) => Promise<Record<string, ort.Tensor>>
async function session(graph: GraphBuilder, threads = 1): Promise<Run> {
  const bytes = toBinary(ModelProtoSchema, graph.build())
  const created = await ort.InferenceSession.create(bytes, { intraOpNumThreads: threads, logSeverityLevel: 4 })
  return async (feeds) => (await created.run(feeds)) as Record<string, ort.Tensor>
}

for (const [operator, list] of Object.entries(cases)) {
  test(`${operator}: the gradient agrees with central finite differences`, async () => {
    for (const one of list) {
      const { inputs } = one
      const sizes = fc.record({ n: fc.integer({ min: 1, max: 4 }), m: fc.integer({ min: 1, max: 4 }), seed: fc.nat() })
      await fc.assert(
        fc.asyncProperty(sizes, ({ n, m, seed }) => check(one, n, m, seed)),
        { numRuns: inputs.length ? 6 : 2, seed: 7 }, // fewer where sizes are fixed
      )
    }
  })
}

async function check(
  { inputs, build, range = [-1, 1], dtype = 'float64', distinct, step }: Case,
  n: number,
  m: number,
  seed: number,
) {
  const single = dtype === 'float32'
  const make = single
    ? (values: number[]) => Float32Array.from(values)
    : (values: number[]) => Float64Array.from(values)
  const shapes = inputs(n, m)
  const count = shapes.map((shape) => shape.reduce((a, b) => a * b, 1))
  let state = seed + 1
  const next = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return state / 0x7fffffff
  }
  // distinct values: a shuffled grid, so that maxima, ties and kinks stay where they are under a small step
  const total = count.reduce((a, b) => a + b, 0)
  const grid = Array.from({ length: total }, (_, i) => range[0] + ((i + 0.37) / total) * (range[1] - range[0]))
  grid.sort(() => next() - 0.5)
  const values = count.map((length) =>
    Array.from({ length }, () => (distinct ? grid.pop()! : range[0] + next() * (range[1] - range[0]))),
  )

  const graph = new GraphBuilder()
  const x = shapes.map((shape, i) => graph.input(`x${i}`, dtype, shape))
  const y = build(x, n, m)
  // a weighted sum makes a scalar whose gradient has a different factor everywhere
  const size = y.shape.reduce<number>((a, b) => a * Number(b), 1)
  const weights = make(Array.from({ length: size }, (_, i) => Math.sin(i + 1)))
  const loss = o.reduceSum(o.mul(y, graph.constant({ dtype, dims: y.shape.map(Number), data: weights })))
  const derived = gradients(loss, x)
  graph.output(loss, 'loss')
  derived.forEach((gradient, i) => {
    graph.output(gradient, `dx${i}`)
  })
  const run = await session(graph)
  const evaluate = async (given: number[][]) =>
    run(Object.fromEntries(given.map((v, i) => [`x${i}`, new ort.Tensor(dtype, make(v), shapes[i])])))

  const at = await evaluate(values)
  const [h, tolerance] = step ?? (single ? [1e-2, 2e-2] : [1e-5, 1e-6])
  for (let i = 0; i < values.length; i++) {
    assert.deepEqual(at[`dx${i}`].dims, shapes[i], 'a gradient has the shape of its input')
    for (let j = 0; j < values[i].length; j++) {
      const nudged = async (by: number) => {
        const copy = values.map((v) => [...v])
        copy[i][j] += by
        return Number((await evaluate(copy)).loss.data[0])
      }
      const numeric = ((await nudged(h)) - (await nudged(-h))) / (2 * h)
      const exact = Number(at[`dx${i}`].data[j])
      assert.ok(
        Math.abs(numeric - exact) <= tolerance * Math.max(1, Math.abs(exact)),
        `d/dx${i}[${j}]: ${exact}, differences say ${numeric}`,
      )
    }
  }
}
