import { floatOf, intOf, intsOf, stringOf, tensorOf } from '../../graph/attributes.ts'
import { dataTypeOf, float32, numbers, type Tensor } from '../../graph/tensor.ts'
import type { Attr } from './graphdef.ts'
import { type CellKind, loopOver } from './recurrent.ts'
import { averagePool, batchNormalization, conv, globalAveragePool, maxPool, transposed } from './windows.ts'
import type { Rule, Writing } from './writing.ts'

const plain =
  (op: string, attrs: Record<string, Attr> = {}): Rule =>
  (w) =>
    w.g.add(op, w.inputs, { T: { type: w.type(0) }, ...attrs })
const folded =
  (op: string): Rule =>
  (w) =>
    w.inputs.reduce((a, b) => w.g.add(op, [a, b], { T: { type: w.type(0) } }))
const logical =
  (op: string): Rule =>
  (w) =>
    w.g.add(op, w.inputs)

const intsAt = (w: Writing, i: number): number[] => {
  const tensor = w.stored(i)
  return tensor ? numbers(tensor) : w.refuse(`its input ${i} is computed`)
}
const axes = (w: Writing, i: number) => (w.inputs[i] ? intsAt(w, i) : intsOf(w.node, 'axes'))

const reduce =
  (op: string, of?: string): Rule =>
  (w) => {
    const all = w.shape(0).map((_, i) => i)
    const over = axes(w, 1) ?? all
    const attrs = {
      T: { type: w.type(0) },
      Tidx: { type: 'int32' },
      keep_dims: { flag: intOf(w.node, 'keepdims', 1) === 1 },
    } as const
    return w.g.add(op, [of ?? w.inputs[0], w.g.ints(over)], attrs)
  }

const slice: Rule = (w) => {
  const { g } = w
  const rank = w.shape(0).length
  const [starts, ends] = [intsAt(w, 1), intsAt(w, 2)]
  const on = axes(w, 3) ?? starts.map((_, i) => i)
  const steps = w.inputs[4] ? intsAt(w, 4) : starts.map(() => 1)
  const [begin, end, stride] = [Array(rank).fill(0), Array(rank).fill(0), Array(rank).fill(1)]
  let [beginMask, endMask] = [2 ** rank - 1, 2 ** rank - 1]
  on.forEach((given, i) => {
    const axis = (given + rank) % rank
    stride[axis] = steps[i]
    const far = 2 ** 31 - 1
    if (Math.abs(starts[i]) < far) {
      begin[axis] = starts[i]
      beginMask &= ~(1 << axis)
    }
    if (Math.abs(ends[i]) < far) {
      end[axis] = ends[i]
      endMask &= ~(1 << axis)
    }
  })
  return g.add('StridedSlice', [w.inputs[0], g.ints(begin), g.ints(end), g.ints(stride)], {
    T: { type: w.type(0) },
    Index: { type: 'int32' },
    begin_mask: { int: beginMask },
    end_mask: { int: endMask },
    ellipsis_mask: { int: 0 },
    new_axis_mask: { int: 0 },
    shrink_axis_mask: { int: 0 },
  })
}

const reshape: Rule = (w) => {
  const { g } = w
  const target = w.stored(1)
  const attrs = { T: { type: w.type(0) }, Tshape: { type: 'int32' } } as const
  if (!target) return g.add('Reshape', w.inputs, { T: { type: w.type(0) }, Tshape: { type: w.type(1) } })
  const wanted = numbers(target)
  if (!wanted.includes(0)) return g.add('Reshape', [w.inputs[0], g.ints(wanted)], attrs)
  // 0 stands for the size that the axis has
  const shape = g.add('Shape', [w.inputs[0]], { T: { type: w.type(0) }, out_type: { type: 'int32' } })
  const parts = wanted.map((dim, i) =>
    dim === 0
      ? g.add('Slice', [shape, g.ints([i]), g.ints([1])], { T: { type: 'int32' }, Index: { type: 'int32' } })
      : g.ints([dim]),
  )
  const whole = g.add('ConcatV2', [...parts, g.ints([0], [])], {
    N: { int: parts.length },
    T: { type: 'int32' },
    Tidx: { type: 'int32' },
  })
  return g.add('Reshape', [w.inputs[0], whole], attrs)
}

const unsqueeze: Rule = (w) => {
  const on = axes(w, 1) ?? w.refuse('it has no axes')
  const rank = w.shape(0).length + on.length
  return on
    .map((axis) => (axis + rank) % rank)
    .sort((a, b) => a - b)
    .reduce(
      (x, axis) =>
        w.g.add('ExpandDims', [x, w.g.ints([axis], [])], { T: { type: w.type(0) }, Tdim: { type: 'int32' } }),
      w.inputs[0],
    )
}

const gemm: Rule = (w) => {
  const { g, node } = w
  if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) w.refuse('it scales its product')
  const flags = {
    transpose_a: { flag: intOf(node, 'transA', 0) === 1 },
    transpose_b: { flag: intOf(node, 'transB', 0) === 1 },
  }
  const product = g.add('MatMul', w.inputs.slice(0, 2), { T: { type: w.type(0) }, ...flags })
  return w.inputs[2] ? g.add('AddV2', [product, w.inputs[2]], { T: { type: w.type(0) } }) : product
}

const pad: Rule = (w) => {
  const pads = intsAt(w, 1)
  if (stringOf(w.node, 'mode', 'constant') !== 'constant' || w.inputs[2]) w.refuse('it pads with more than zeros')
  const rank = pads.length / 2
  const pairs = Array.from({ length: rank }, (_, i) => [pads[i], pads[i + rank]]).flat()
  return w.g.add('Pad', [w.inputs[0], w.g.ints(pairs, [rank, 2])], {
    T: { type: w.type(0) },
    Tpaddings: { type: 'int32' },
  })
}

const recurrent: Rule = (w) => {
  const { g, node } = w
  const kind = node.opType as CellKind
  const hidden = intOf(node, 'hidden_size', 0)
  if (w.inputs.slice(5).some((input) => input !== '') || intsOf(node, 'activations'))
    w.refuse('its initial states or activations')
  if (kind === 'GRU' && intOf(node, 'linear_before_reset', 0) !== 1) w.refuse('it resets before its product')
  const [all, direction] = [[1, 2, 3].map((i) => w.stored(i)), stringOf(node, 'direction', 'forward')]
  if (direction === 'reverse' || all.some((tensor) => !tensor)) w.refuse('its weights or direction')
  const lengths = w.inputs[4]
    ? g.add('Cast', [w.inputs[4]], { SrcT: { type: w.type(4) }, DstT: { type: 'int32' } })
    : undefined
  const part = (tensor: Tensor, i: number) => {
    const dims = tensor.dims.slice(1)
    const size = dims.reduce((a, b) => a * b, 1)
    return float32(dims, (tensor.data as Float32Array).slice(i * size, (i + 1) * size))
  }
  const outputs = Array.from({ length: direction === 'bidirectional' ? 2 : 1 }, (_, i) => {
    const [weights, recurrence, bias] = all.map((tensor) => part(tensor!, i))
    return loopOver(g, kind, w.inputs[0], lengths, { w: weights, r: recurrence, b: bias, hidden, reversed: i === 1 })
  })
  return g.add('Pack', outputs, { T: { type: 'float32' }, N: { int: outputs.length }, axis: { int: 1 } })
}

/** ONNX's operators of opset 13 in TensorFlow's. */
export const writers: Record<string, Rule> = {
  Add: plain('AddV2'),
  Sub: plain('Sub'),
  Mul: plain('Mul'),
  Div: (w) => plain(w.type(0) === 'float32' ? 'RealDiv' : 'TruncateDiv')(w),
  Mod: (w) => {
    // hashes are products that only 64 bits hold
    if (w.type(0) === 'int32' && w.g.integers === 'int32') w.refuse('it needs whole numbers of 64 bits')
    return plain('FloorMod')(w)
  },
  Pow: plain('Pow'),
  Min: folded('Minimum'),
  Max: folded('Maximum'),
  Sum: folded('AddV2'),
  ...Object.fromEntries(
    'Neg Sqrt Exp Log Abs Sin Cos Tanh Sigmoid Relu Erf Floor Reciprocal Softplus Elu Selu Sign'
      .split(' ')
      .map((op) => [op, plain(op)]),
  ),
  Less: plain('Less'),
  LessOrEqual: plain('LessEqual'),
  Greater: plain('Greater'),
  GreaterOrEqual: plain('GreaterEqual'),
  Equal: plain('Equal'),
  And: logical('LogicalAnd'),
  Or: logical('LogicalOr'),
  Not: logical('LogicalNot'),
  Identity: plain('Identity'),
  Where: (w) => w.g.add('SelectV2', w.inputs, { T: { type: w.type(1) } }),
  Cast: (w) => {
    const to = dataTypeOf(intOf(w.node, 'to', 0)) ?? w.refuse('the type it casts to')
    return w.g.add('Cast', w.inputs, { SrcT: { type: w.type(0) }, DstT: { type: w.g.typed(to) } })
  },
  MatMul: (w) =>
    w.g.add('BatchMatMulV2', w.inputs, { T: { type: w.type(0) }, adj_x: { flag: false }, adj_y: { flag: false } }),
  Gemm: gemm,
  Gather: (w) =>
    w.g.add('GatherV2', [...w.inputs, w.g.ints([intOf(w.node, 'axis', 0)], [])], {
      Tparams: { type: w.type(0) },
      Tindices: { type: w.type(1) },
      Taxis: { type: 'int32' },
      batch_dims: { int: 0 },
    }),
  Concat: (w) =>
    w.g.add('ConcatV2', [...w.inputs, w.g.ints([intOf(w.node, 'axis', 0)], [])], {
      N: { int: w.inputs.length },
      T: { type: w.type(0) },
      Tidx: { type: 'int32' },
    }),
  Reshape: reshape,
  Transpose: (w) =>
    transposed(
      w.g,
      w.inputs[0],
      w.type(0),
      intsOf(w.node, 'perm') ?? w.shape(0).map((_, i, all) => all.length - 1 - i),
    ),
  Squeeze: (w) =>
    w.g.add('Squeeze', [w.inputs[0]], { T: { type: w.type(0) }, squeeze_dims: { ints: axes(w, 1) ?? [] } }),
  Unsqueeze: unsqueeze,
  Shape: (w) => w.g.add('Shape', w.inputs, { T: { type: w.type(0) }, out_type: { type: w.g.integers } }),
  Slice: slice,
  Range: (w) => w.g.add('Range', w.inputs, { Tidx: { type: w.type(0) } }),
  Pad: pad,
  ReduceSum: reduce('Sum'),
  ReduceMean: reduce('Mean'),
  ReduceMax: reduce('Max'),
  ReduceMin: reduce('Min'),
  ReduceProd: reduce('Prod'),
  Softmax: (w) => {
    const axis = intOf(w.node, 'axis', -1)
    if (axis !== -1 && axis !== w.shape(0).length - 1) w.refuse('its axis is not the last')
    return w.g.add('Softmax', w.inputs, { T: { type: w.type(0) } })
  },
  ReduceSumSquare: (w) => reduce('Sum', w.g.add('Square', [w.inputs[0]], { T: { type: w.type(0) } }))(w),
  Flatten: (w) => {
    if (intOf(w.node, 'axis', 1) !== 1) w.refuse('its axis is not the second')
    const sizes = w.shape(0).slice(1)
    const known = sizes.every((size) => typeof size === 'number')
    if (!known) w.refuse('the sizes that it makes one are not known')
    const size = sizes.reduce((a: number, b) => a * Number(b), 1)
    return w.g.add('Reshape', [w.inputs[0], w.g.ints([-1, size])], {
      T: { type: w.type(0) },
      Tshape: { type: 'int32' },
    })
  },
  BatchNormalization: batchNormalization,
  Conv: conv,
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: globalAveragePool,
  Split: (w) => {
    const sizes = intsAt(w, 1)
    const axis = w.g.ints([intOf(w.node, 'axis', 0)], [])
    const attrs = { T: { type: w.type(0) }, Tlen: { type: 'int32' }, num_split: { int: sizes.length } } as const
    const name = w.g.add('SplitV', [w.inputs[0], w.g.ints(sizes), axis], attrs)
    return sizes.map((_, i) => (i === 0 ? name : `${name}:${i}`))
  },
  ConstantOfShape: (w) => {
    const value = tensorOf(w.node, 'value') ?? float32([1], [0])
    const scalar = w.g.constant({ ...value, dims: [] })
    return w.g.add('Fill', [w.inputs[0], scalar], {
      T: { type: w.g.typed(value.dtype) },
      index_type: { type: w.type(0) },
    })
  },
  LSTM: recurrent,
  GRU: recurrent,
  RNN: recurrent,
}
