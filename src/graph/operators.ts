import { fail } from '../base/errors.ts'
import { graphOf, intOf, intsOf, stringOf, tensorOf } from './attributes.ts'
import type { GraphProto, NodeProto } from './gen/onnx_pb.js'
import { axisOf, broadcast, type Dim, product, type Shape, type Type, typeOf, unknown } from './shape.ts'
import { type DataType, dataTypeOf, numbers, type Tensor } from './tensor.ts'

/** What a shape rule sees: the node, what is known of its inputs, and a way to infer the graphs it holds. */
export interface Context {
  readonly node: NodeProto
  readonly inputs: readonly (Type | undefined)[]
  readonly where: string
  /** Types of a subgraph's outputs, given the types of its inputs. */
  body(graph: GraphProto, inputs: readonly Type[]): Type[]
}
export type ShapeRule = (context: Context) => (Type | undefined)[]

const nothing: Type = { dtype: undefined, shape: undefined }
const input = (c: Context, i: number): Type => c.inputs[i] ?? nothing
const refuse = (c: Context, reason: string) => fail('MODEL_INVALID', { reason: `${c.where}: ${reason}` })
const text = (shape: Shape | undefined) => `[${shape?.join(', ') ?? '…'}]`

const same: ShapeRule = (c) => [{ dtype: input(c, 0).dtype, shape: input(c, 0).shape }]

/** (batch, channels, height, width), or the channels last, in the other order. */
function reordered(c: Context, before: boolean, after: boolean): Type {
  const { dtype, shape } = input(c, 0)
  if (shape?.length !== 4) return { dtype, shape: undefined }
  const [batch, a, b, d] = shape
  const [channels, height, width] = before ? [d, a, b] : [a, b, d]
  const all = intOf(c.node, 'channels', 0) || channels
  return { dtype, shape: after ? [batch, height, width, all] : [batch, all, height, width] }
}

/** Integer arithmetic on known elements, so that shapes computed by Mul, Add, … are followed. */
const arithmetic: Record<string, (a: number, b: number) => number> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => Math.trunc(a / b),
}

const elementwise: ShapeRule = (c) => {
  const shape = broadcast(
    c.inputs.map((value) => value?.shape),
    c.where,
  )
  const [a, b] = [input(c, 0), input(c, 1)]
  const compute = c.node.opType in arithmetic ? arithmetic[c.node.opType] : undefined
  const ints =
    compute && a.ints && b.ints && (a.ints.length === b.ints.length || a.ints.length === 1 || b.ints.length === 1)
      ? Array.from({ length: Math.max(a.ints.length, b.ints.length) }, (_, i): Dim => {
          const [x, y] = [a.ints![a.ints!.length === 1 ? 0 : i], b.ints![b.ints!.length === 1 ? 0 : i]]
          if (typeof x === 'number' && typeof y === 'number') return compute(x, y)
          if (c.node.opType === 'Mul' && (x === 1 || y === 1)) return x === 1 ? y : x
          return unknown()
        })
      : undefined
  return [{ dtype: a.dtype, shape, ...(ints && { ints }) }]
}
const comparison: ShapeRule = (c) => [
  {
    dtype: 'bool',
    shape: broadcast(
      c.inputs.map((value) => value?.shape),
      c.where,
    ),
  },
]

const matMul: ShapeRule = (c) => {
  const [a, b] = [input(c, 0), input(c, 1)]
  return [{ dtype: a.dtype, shape: matMulShape(c, a.shape, b.shape) }]
}
function matMulShape(c: Context, a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (!a || !b) return undefined
  if (a.length === 0 || b.length === 0) throw refuse(c, 'a scalar cannot be multiplied as a matrix')
  const left = a.length === 1 ? [1, ...a] : a
  const right = b.length === 1 ? [...b, 1] : b
  const [inner, outer] = [left.at(-1)!, right.at(-2)!]
  if (typeof inner === 'number' && typeof outer === 'number' && inner !== outer) {
    throw refuse(c, `${text(a)} and ${text(b)} cannot be multiplied`)
  }
  const batch = broadcast([left.slice(0, -2), right.slice(0, -2)], c.where)!
  const rows = a.length === 1 ? [] : [left.at(-2)!]
  const columns = b.length === 1 ? [] : [right.at(-1)!]
  return [...batch, ...rows, ...columns]
}

const swapLast = (shape: Shape | undefined, swap: boolean): Shape | undefined =>
  shape && swap ? [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!] : shape

const gemm: ShapeRule = (c) => {
  const [a, b] = [input(c, 0), input(c, 1)]
  const shape = matMulShape(
    c,
    swapLast(a.shape, intOf(c.node, 'transA', 0) === 1),
    swapLast(b.shape, intOf(c.node, 'transB', 0) === 1),
  )
  return [{ dtype: a.dtype, shape }]
}

/** Axes from the attribute or, in newer opsets, from an input. */
const axesOf = (c: Context, at: number): readonly Dim[] | undefined => intsOf(c.node, 'axes') ?? input(c, at).ints

const reduce: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const keep = intOf(c.node, 'keepdims', 1) === 1
  if (!shape) return [{ dtype, shape }]
  const given = axesOf(c, 1)
  if (!given && c.inputs[1]) return [{ dtype, shape: keep ? shape.map(unknown) : undefined }]
  const all = !given?.length && intOf(c.node, 'noop_with_empty_axes', 0) === 0
  const axes = new Set(given?.map((axis) => axisOf(Number(axis), shape.length, c.where)))
  const gone = (i: number) => all || axes.has(i)
  return [{ dtype, shape: shape.flatMap((dim, i) => (gone(i) ? (keep ? [1] : []) : [dim])) }]
}

const argument: ShapeRule = (c) => {
  const shape = input(c, 0).shape
  if (!shape) return [{ dtype: 'int64', shape }]
  const axis = axisOf(intOf(c.node, 'axis', 0), shape.length, c.where)
  const keep = intOf(c.node, 'keepdims', 1) === 1
  return [{ dtype: 'int64', shape: shape.flatMap((dim, i) => (i === axis ? (keep ? [1] : []) : [dim])) }]
}

const reshape: ShapeRule = (c) => {
  const { dtype, shape, ints } = input(c, 0)
  const target = input(c, 1)
  if (!target.ints) {
    const rank = target.shape?.[0]
    return [{ dtype, shape: typeof rank === 'number' ? Array.from({ length: rank }, unknown) : undefined }]
  }
  const wanted = target.ints.map((dim, i) =>
    dim === 0 && intOf(c.node, 'allowzero', 0) === 0 ? (shape?.[i] ?? unknown()) : dim,
  )
  const hole = wanted.indexOf(-1)
  if (hole >= 0)
    wanted[hole] = shape
      ? quotient(
          c,
          shape,
          wanted.filter((_, i) => i !== hole),
        )
      : unknown()
  else if (shape) checkSize(c, shape, wanted)
  return [{ dtype, shape: wanted, ...(ints && { ints }) }]
}
function checkSize(c: Context, shape: Shape, wanted: Shape) {
  const [from, to] = [product(shape), product(wanted)]
  if (typeof from === 'number' && typeof to === 'number' && from !== to) {
    throw refuse(c, `${text(shape)} cannot be reshaped to ${text(wanted)}`)
  }
}
/** What is left of a shape's size after dividing by the others: equal symbols cancel. */
function quotient(c: Context, shape: Shape, others: Shape): Dim {
  const left = [...shape]
  const rest: Dim[] = []
  for (const dim of others) {
    const at = left.indexOf(dim)
    if (at >= 0) left.splice(at, 1)
    else rest.push(dim)
  }
  const [above, below] = [product(left), product(rest)]
  if (typeof above === 'number' && typeof below === 'number') {
    if (below === 0 || above % below !== 0)
      throw refuse(c, `${text(shape)} cannot be reshaped to ${text([...others, -1])}`)
    return above / below
  }
  return below === 1 ? above : unknown()
}

const transpose: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const order = intsOf(c.node, 'perm') ?? shape?.map((_, i) => shape.length - 1 - i)
  if (shape && order && order.length !== shape.length)
    throw refuse(c, `perm [${order}] for a tensor of shape ${text(shape)}`)
  return [{ dtype, shape: shape && order!.map((axis) => shape[axisOf(axis, shape.length, c.where)]) }]
}

const concat: ShapeRule = (c) => {
  const types = c.inputs.map((value) => value ?? nothing)
  const known = types.find(({ shape }) => shape)?.shape
  const dtype = types[0].dtype
  if (!known) return [{ dtype, shape: undefined }]
  const axis = axisOf(intOf(c.node, 'axis', 0), known.length, c.where)
  let total: Dim = 0
  for (const { shape } of types) {
    if (shape && shape.length !== known.length)
      throw refuse(c, `ranks differ: ${types.map((t) => text(t.shape)).join(', ')}`)
    const dim: Dim | undefined = shape?.[axis]
    total = typeof dim === 'number' && typeof total === 'number' ? total + dim : total === 0 && dim ? dim : unknown()
  }
  const shape = known.map((dim, i) => {
    if (i === axis) return total
    return types.map((t) => t.shape?.[i]).find((other) => typeof other === 'number') ?? dim
  })
  const ints = types.every((t) => t.ints) ? types.flatMap((t) => t.ints!) : undefined
  return [{ dtype, shape, ...(ints && { ints }) }]
}

const split: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const count = c.node.output.length
  if (!shape) return Array.from({ length: count }, () => ({ dtype, shape }))
  const axis = axisOf(intOf(c.node, 'axis', 0), shape.length, c.where)
  const sizes = intsOf(c.node, 'split') ?? input(c, 1).ints
  const whole = shape[axis]
  return Array.from({ length: count }, (_, i) => {
    const even = typeof whole === 'number' ? Math.ceil(whole / count) : undefined
    const size = sizes?.[i] ?? (even === undefined ? unknown() : Math.min(even, (whole as number) - even * i))
    return { dtype, shape: shape.map((dim, j) => (j === axis ? size : dim)) }
  })
}

const slice: ShapeRule = (c) => {
  const { dtype, shape, ints } = input(c, 0)
  const starts = intsOf(c.node, 'starts') ?? input(c, 1).ints
  const ends = intsOf(c.node, 'ends') ?? input(c, 2).ints
  if (!shape) return [{ dtype, shape }]
  const axes = intsOf(c.node, 'axes') ?? (c.inputs[3] ? input(c, 3).ints : starts?.map((_, i) => i))
  const steps = c.inputs[4] ? input(c, 4).ints : axes?.map(() => 1)
  if (!starts || !ends || !axes || !steps) return [{ dtype, shape: shape.map(unknown) }]
  const result: Dim[] = [...shape]
  axes.forEach((given, i) => {
    const axis = axisOf(Number(given), shape.length, c.where)
    result[axis] = sliced(shape[axis], starts[i], ends[i], steps[i])
  })
  const taken =
    ints && shape.length === 1 && steps[0] === 1 && typeof starts[0] === 'number' && typeof ends[0] === 'number'
      ? ints.slice(starts[0], ends[0])
      : undefined
  return [{ dtype, shape: result, ...(taken && { ints: taken }) }]
}
function sliced(size: Dim, start: Dim, end: Dim, step: Dim): Dim {
  if (typeof start !== 'number' || typeof end !== 'number' || typeof step !== 'number') return unknown()
  const whole = step === 1 ? start === 0 && end >= 2 ** 31 - 1 : step === -1 && start === -1 && end <= -(2 ** 31)
  if (typeof size !== 'number') return whole ? size : unknown()
  const clampTo = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high)
  const from = clampTo(start < 0 ? start + size : start, step < 0 ? -1 : 0, step < 0 ? size - 1 : size)
  const to = clampTo(end < 0 ? end + size : end, step < 0 ? -1 : 0, size)
  return Math.max(0, Math.ceil((to - from) / step))
}

const squeeze: ShapeRule = (c) => {
  const { dtype, shape, ints } = input(c, 0)
  const given = axesOf(c, 1)
  if (!shape || (!given && c.inputs[1])) return [{ dtype, shape: undefined }]
  const axes = given?.map((axis) => axisOf(Number(axis), shape.length, c.where))
  return [{ dtype, shape: shape.filter((dim, i) => (axes ? !axes.includes(i) : dim !== 1)), ...(ints && { ints }) }]
}
const unsqueeze: ShapeRule = (c) => {
  const { dtype, shape, ints } = input(c, 0)
  const given = axesOf(c, 1)
  if (!shape || !given) return [{ dtype, shape: undefined }]
  const rank = shape.length + given.length
  const axes = given.map((axis) => axisOf(Number(axis), rank, c.where))
  const rest = [...shape]
  return [
    {
      dtype,
      shape: Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : rest.shift()!)),
      ...(ints && { ints }),
    },
  ]
}

const expand: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const target = input(c, 1)
  if (!target.ints || !shape) {
    const rank = target.shape?.[0]
    const known = typeof rank === 'number' && shape ? Math.max(rank, shape.length) : undefined
    return [{ dtype, shape: known === undefined ? undefined : Array.from({ length: known }, unknown) }]
  }
  return [{ dtype, shape: broadcast([shape, target.ints], c.where) }]
}

const gather: ShapeRule = (c) => {
  const [data, indices] = [input(c, 0), input(c, 1)]
  if (!data.shape || !indices.shape) return [{ dtype: data.dtype, shape: undefined }]
  const axis = axisOf(intOf(c.node, 'axis', 0), data.shape.length, c.where)
  const picked = data.ints && indices.ints?.map((i) => (typeof i === 'number' ? data.ints!.at(i)! : unknown()))
  return [
    {
      dtype: data.dtype,
      shape: [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)],
      ...(picked && { ints: picked }),
    },
  ]
}
const gatherND: ShapeRule = (c) => {
  const [data, indices] = [input(c, 0), input(c, 1)]
  const last = indices.shape?.at(-1)
  if (!data.shape || !indices.shape || typeof last !== 'number') return [{ dtype: data.dtype, shape: undefined }]
  return [
    {
      dtype: data.dtype,
      shape: [...indices.shape.slice(0, -1), ...data.shape.slice(intOf(c.node, 'batch_dims', 0) + last)],
    },
  ]
}

/** Dimensions of an int64 shape operand as a shape. */
const asShape = (type: Type): Shape | undefined => {
  if (type.ints) return type.ints
  const rank = type.shape?.[0]
  return typeof rank === 'number' ? Array.from({ length: rank }, unknown) : undefined
}

const cast: ShapeRule = (c) => {
  const { shape, ints } = input(c, 0)
  const dtype = dataTypeOf(intOf(c.node, 'to', 0))
  return [{ dtype, shape, ...(ints && (dtype === 'int64' || dtype === 'int32') && { ints }) }]
}

const constant: ShapeRule = (c) => {
  const value = tensorOf(c.node, 'value')
  if (value) return [typeOf(value)]
  const ints = intsOf(c.node, 'value_ints')
  if (ints) return [{ dtype: 'int64', shape: [ints.length], ints }]
  for (const { name, i } of c.node.attribute) {
    if (name === 'value_int') return [{ dtype: 'int64', shape: [], ints: [Number(i)] }]
    if (name === 'value_float') return [{ dtype: 'float32', shape: [] }]
    if (name === 'value_string') return [{ dtype: 'string', shape: [] }]
  }
  return [nothing]
}

const spatial = (c: Context, data: Shape, kernel: readonly Dim[], channels: Dim): Shape => {
  const rank = data.length - 2
  const strides = intsOf(c.node, 'strides') ?? Array(rank).fill(1)
  const dilations = intsOf(c.node, 'dilations') ?? Array(rank).fill(1)
  const pads = intsOf(c.node, 'pads') ?? Array(2 * rank).fill(0)
  const auto = stringOf(c.node, 'auto_pad', 'NOTSET')
  const round = intOf(c.node, 'ceil_mode', 0) === 1 ? Math.ceil : Math.floor
  const sizes = data.slice(2).map((size, i) => {
    const k = kernel[i]
    if (typeof size !== 'number' || typeof k !== 'number') return unknown()
    if (auto.startsWith('SAME')) return Math.ceil(size / strides[i])
    const padded = auto === 'VALID' ? size : size + pads[i] + pads[i + rank]
    return round((padded - dilations[i] * (k - 1) - 1) / strides[i]) + 1
  })
  return [data[0], channels, ...sizes]
}
const conv: ShapeRule = (c) => {
  const [data, weight] = [input(c, 0), input(c, 1)]
  if (!data.shape || !weight.shape) return [{ dtype: data.dtype, shape: undefined }]
  return [{ dtype: data.dtype, shape: spatial(c, data.shape, weight.shape.slice(2), weight.shape[0]) }]
}
const convTranspose: ShapeRule = (c) => {
  const [data, weight] = [input(c, 0), input(c, 1)]
  if (!data.shape || !weight.shape) return [{ dtype: data.dtype, shape: undefined }]
  const rank = data.shape.length - 2
  const ones = Array<number>(rank).fill(1)
  const [strides, dilations] = [intsOf(c.node, 'strides') ?? ones, intsOf(c.node, 'dilations') ?? ones]
  const pads = intsOf(c.node, 'pads') ?? Array<number>(2 * rank).fill(0)
  const extra = intsOf(c.node, 'output_padding') ?? Array<number>(rank).fill(0)
  const asked = intsOf(c.node, 'output_shape')
  const auto = stringOf(c.node, 'auto_pad', 'NOTSET')
  const sizes = data.shape.slice(2).map((size, i) => {
    const k = weight.shape![i + 2]
    if (asked) return asked.at(i - rank)!
    if (typeof size !== 'number' || typeof k !== 'number') return unknown()
    if (auto.startsWith('SAME')) return size * strides[i]
    const cropped = auto === 'VALID' ? 0 : pads[i] + pads[i + rank]
    return strides[i] * (size - 1) + extra[i] + (k - 1) * dilations[i] + 1 - cropped
  })
  return [
    { dtype: data.dtype, shape: [data.shape[0], product([weight.shape[1], intOf(c.node, 'group', 1)]), ...sizes] },
  ]
}
const pool: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const known = shape && spatial(c, shape, intsOf(c.node, 'kernel_shape') ?? [], shape[1])
  return c.node.output.length > 1
    ? [
        { dtype, shape: known },
        { dtype: 'int64', shape: known },
      ]
    : [{ dtype, shape: known }]
}
const globalPool: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  return [{ dtype, shape: shape?.map((dim, i) => (i < 2 ? dim : 1)) }]
}

const recurrent: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0) // (time, batch, width), or (batch, time, width) for layout 1
  const hidden = intOf(c.node, 'hidden_size', 0)
  const directions = stringOf(c.node, 'direction', 'forward') === 'bidirectional' ? 2 : 1
  const batchFirst = intOf(c.node, 'layout', 0) === 1
  if (!shape) return c.node.output.map(() => ({ dtype, shape: undefined }))
  const [time, batch] = batchFirst ? [shape[1], shape[0]] : [shape[0], shape[1]]
  const all = batchFirst ? [batch, time, directions, hidden] : [time, directions, batch, hidden]
  const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden]
  return [all, last, last].slice(0, c.node.output.length).map((known) => ({ dtype, shape: known }))
}

const scan: ShapeRule = (c) => {
  const body = graphOf(c.node, 'body')
  const scans = intOf(c.node, 'num_scan_inputs', 1)
  if (!body) throw refuse(c, 'no body')
  const states = c.inputs.length - scans
  const inAxes = intsOf(c.node, 'scan_input_axes') ?? Array(scans).fill(0)
  const inner = c.inputs.map((value, i): Type => {
    if (i < states || !value?.shape) return { dtype: value?.dtype, shape: value?.shape }
    const axis = axisOf(inAxes[i - states], value.shape.length, c.where)
    return { dtype: value.dtype, shape: value.shape.filter((_, j) => j !== axis) }
  })
  const outputs = c.body(body, inner)
  const first = input(c, states).shape
  const length = first ? first[axisOf(inAxes[0], first.length, c.where)] : unknown()
  const outAxes = intsOf(c.node, 'scan_output_axes') ?? Array(outputs.length - states).fill(0)
  return outputs.map(({ dtype, shape }, i) => {
    if (i < states) return { dtype, shape: input(c, i).shape ?? shape }
    if (!shape) return { dtype, shape }
    const axis = axisOf(outAxes[i - states], shape.length + 1, c.where)
    return { dtype, shape: [...shape.slice(0, axis), length, ...shape.slice(axis)] }
  })
}

const branch: ShapeRule = (c) => {
  const [left, right] = ['then_branch', 'else_branch'].map((name) => c.body(graphOf(c.node, name)!, []))
  return left.map((type, i) => {
    const other = right[i]?.shape
    const agree = type.shape && other && type.shape.length === other.length
    return {
      dtype: type.dtype,
      shape: agree ? type.shape!.map((dim, j) => (dim === other[j] ? dim : unknown())) : undefined,
    }
  })
}

/** Sizes given, or scales of the input's; for the axes given or all. */
const resize: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const old = c.node.opType === 'Upsample'
  const scales = floatsOf(c.inputs[old ? 1 : 2])
  const sizes = old ? undefined : input(c, 3).ints
  const axes = intsOf(c.node, 'axes') ?? shape?.map((_, i) => i)
  if (!shape || (stringOf(c.node, 'keep_aspect_ratio_policy', 'stretch') !== 'stretch' && sizes))
    return [{ dtype, shape: shape?.map(unknown) }]
  const resized = shape.map((dim, i): Dim => {
    const at = axes!.findIndex((axis) => axisOf(axis, shape.length, c.where) === i)
    if (at < 0) return dim
    if (sizes) return sizes[at]
    if (scales?.[at] === 1) return dim
    return typeof dim === 'number' && scales ? Math.floor(dim * scales[at]) : unknown()
  })
  return [{ dtype, shape: resized }]
}
const floatsOf = (type: Type | undefined): number[] | undefined => {
  const tensor = (type as { tensor?: Tensor } | undefined)?.tensor
  return tensor && tensor.data.length > 0 ? numbers(tensor) : undefined
}

const einsum: ShapeRule = (c) => {
  const [left, right] = stringOf(c.node, 'equation', '').replaceAll(' ', '').split('->')
  const dtype = input(c, 0).dtype
  if (right === undefined || left.includes('.') || right.includes('.')) return [{ dtype, shape: undefined }]
  const sizes = new Map<string, Dim>()
  left.split(',').forEach((term, i) => {
    const shape = input(c, i).shape
    if (shape && shape.length !== term.length) throw refuse(c, `"${term}" for a tensor of shape ${text(shape)}`)
    shape?.forEach((dim, axis) => {
      const before = sizes.get(term[axis])
      if (before === undefined || typeof before === 'string' || before === 1) sizes.set(term[axis], dim)
    })
  })
  return [{ dtype, shape: [...right].map((letter) => sizes.get(letter) ?? unknown()) }]
}

const blocks: ShapeRule = (c) => {
  const { dtype, shape } = input(c, 0)
  const size = intOf(c.node, 'blocksize', 1)
  if (!shape) return [{ dtype, shape }]
  const deep = c.node.opType === 'SpaceToDepth'
  const by = (dim: Dim, factor: number): Dim => (typeof dim === 'number' ? dim * factor : unknown())
  const [n, channels, ...space] = shape
  return [
    {
      dtype,
      shape: [
        n,
        by(channels, deep ? size * size : 1 / (size * size)),
        ...space.map((dim) => by(dim, deep ? 1 / size : size)),
      ],
    },
  ]
}

const known = (shape: Shape | undefined) => (shape ? product(shape) : unknown())

/** Operators (`Name`, or `domain:Name` outside ai.onnx) and their shape rules. An operator not here is of unknown shape. */
export const operators: Record<string, ShapeRule> = {
  ...each(
    'ReverseSequence Neg Exp Log Sqrt Abs Erf Tanh Sigmoid Relu LeakyRelu Elu Selu Softplus Softsign Celu ThresholdedRelu Shrink Gelu HardSigmoid HardSwish Mish Clip Softmax LogSoftmax Hardmax Identity Floor Ceil Round Sign Reciprocal Sin Cos Tan CumSum ScatterND ScatterElements LpNormalization InstanceNormalization GroupNormalization Trilu BitwiseNot',
    same,
  ),
  ...each('Add Sub Mul Div Pow Min Max Sum Mean Mod PRelu BitShift BitwiseAnd BitwiseOr BitwiseXor', elementwise),
  ...each('Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor', comparison),
  ...each(
    'ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare',
    reduce,
  ),
  ...each('ArgMax ArgMin', argument),
  ...each('LSTM GRU RNN', recurrent),
  ...each('MaxPool AveragePool LpPool', pool),
  ...each('Resize Upsample', resize),
  ...each('DepthToSpace SpaceToDepth', blocks),
  Einsum: einsum,
  ...each('GlobalAveragePool GlobalMaxPool', globalPool),
  ...each('Not IsNaN IsInf', (c) => [{ dtype: 'bool', shape: input(c, 0).shape }]),
  MatMul: matMul,
  'com.microsoft:FusedMatMul': (c) => {
    const [a, b] = [input(c, 0), input(c, 1)]
    const left = swapLast(a.shape, intOf(c.node, 'transA', 0) === 1)
    return [{ dtype: a.dtype, shape: matMulShape(c, left, swapLast(b.shape, intOf(c.node, 'transB', 0) === 1)) }]
  },
  Gemm: gemm,
  Where: (c) => [
    {
      dtype: input(c, 1).dtype,
      shape: broadcast(
        c.inputs.map((value) => value?.shape),
        c.where,
      ),
    },
  ],
  Reshape: reshape,
  Flatten: (c) => {
    const { dtype, shape } = input(c, 0)
    const axis = shape ? (intOf(c.node, 'axis', 1) + shape.length) % (shape.length || 1) : 0
    const at = intOf(c.node, 'axis', 1) === shape?.length ? shape.length : axis
    return [{ dtype, shape: shape && [product(shape.slice(0, at)), product(shape.slice(at))] }]
  },
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: expand,
  Tile: (c) => {
    const { dtype, shape } = input(c, 0)
    const times = input(c, 1).ints
    return [{ dtype, shape: shape?.map((dim, i) => (times ? product([dim, times[i]]) : unknown())) }]
  },
  Pad: (c) => {
    const { dtype, shape } = input(c, 0)
    const pads = intsOf(c.node, 'pads') ?? input(c, 1).ints
    const axes = c.inputs[3] ? input(c, 3).ints : shape?.map((_, i) => i)
    if (!shape || !pads || !axes) return [{ dtype, shape: shape?.map(unknown) }]
    const at = axes.map((axis) => axisOf(Number(axis), shape.length, c.where))
    const padded = shape.map((dim, i): Dim => {
      const place = at.indexOf(i)
      if (place < 0) return dim
      const more = [pads[place], pads[place + at.length]]
      if (typeof dim === 'number' && typeof more[0] === 'number' && typeof more[1] === 'number')
        return dim + more[0] + more[1]
      return more[0] === 0 && more[1] === 0 ? dim : unknown()
    })
    return [{ dtype, shape: padded }]
  },
  Gather: gather,
  GatherElements: (c) => [{ dtype: input(c, 0).dtype, shape: input(c, 1).shape }],
  GatherND: gatherND,
  Shape: (c) => {
    const { shape } = input(c, 0)
    const ints = shape?.slice(intOf(c.node, 'start', 0), intOf(c.node, 'end', shape.length))
    return [{ dtype: 'int64', shape: [ints?.length ?? unknown()], ...(ints && { ints }) }]
  },
  Size: (c) => [{ dtype: 'int64', shape: [], ints: [known(input(c, 0).shape)] }],
  Range: (c) => {
    const [start, limit, step] = c.inputs.map((value) => value?.ints?.[0])
    const simple = start === 0 && step === 1 && limit !== undefined
    const length =
      typeof start === 'number' && typeof limit === 'number' && typeof step === 'number'
        ? Math.max(0, Math.ceil((limit - start) / step))
        : simple
          ? limit
          : unknown()
    return [{ dtype: input(c, 0).dtype, shape: [length] }]
  },
  ConstantOfShape: (c) => [{ dtype: tensorOf(c.node, 'value')?.dtype ?? 'float32', shape: asShape(input(c, 0)) }],
  Constant: constant,
  Cast: cast,
  CastLike: (c) => [{ dtype: input(c, 1).dtype, shape: input(c, 0).shape }],
  OneHot: (c) => {
    const { shape } = input(c, 0)
    const axis = intOf(c.node, 'axis', -1)
    const at = shape ? (axis < 0 ? axis + shape.length + 1 : axis) : 0
    const depth = input(c, 1).ints?.[0] ?? unknown()
    return [{ dtype: input(c, 2).dtype, shape: shape && [...shape.slice(0, at), depth, ...shape.slice(at)] }]
  },
  TopK: (c) => {
    const { dtype, shape } = input(c, 0)
    const axis = shape && axisOf(intOf(c.node, 'axis', -1), shape.length, c.where)
    const known = shape?.map((dim, i) => (i === axis ? (input(c, 1).ints?.[0] ?? unknown()) : dim))
    return [
      { dtype, shape: known },
      { dtype: 'int64', shape: known },
    ]
  },
  NonZero: (c) => [{ dtype: 'int64', shape: [input(c, 0).shape?.length ?? unknown(), unknown()] }],
  Dropout: (c) => [
    { dtype: input(c, 0).dtype, shape: input(c, 0).shape },
    ...(c.node.output.length > 1 ? [{ dtype: 'bool' as DataType, shape: input(c, 0).shape }] : []),
  ],
  LayerNormalization: (c) => {
    const { dtype, shape } = input(c, 0)
    const axis = shape && axisOf(intOf(c.node, 'axis', -1), shape.length, c.where)
    const statistics = { dtype, shape: shape?.map((dim, i) => (i < axis! ? dim : 1)) }
    return [{ dtype, shape }, statistics, statistics].slice(0, c.node.output.length)
  },
  SimplifiedLayerNormalization: (c) => {
    const { dtype, shape } = input(c, 0)
    const axis = shape && axisOf(intOf(c.node, 'axis', -1), shape.length, c.where)
    const inverse = { dtype, shape: shape?.map((dim, i) => (i < axis! ? dim : 1)) }
    return [{ dtype, shape }, inverse].slice(0, c.node.output.length)
  },
  BatchNormalization: (c) => {
    const [data, , , mean, variance] = c.inputs
    return [data, mean, variance].slice(0, c.node.output.length).map((t) => t && { dtype: t.dtype, shape: t.shape })
  },
  'com.microsoft.nchwc:ReorderInput': (c) => [reordered(c, intOf(c.node, 'channels_last', 0) === 1, false)],
  'com.microsoft.nchwc:ReorderOutput': (c) => [reordered(c, false, intOf(c.node, 'channels_last', 0) === 1)],
  'com.microsoft.nchwc:Conv': conv,
  Conv: conv,
  ConvTranspose: convTranspose,
  Scan: scan,
  If: branch,
}

function each(names: string, rule: ShapeRule): Record<string, ShapeRule> {
  return Object.fromEntries(names.split(' ').map((name) => [name, rule]))
}

/** The operator's name in the table: the plain name for ai.onnx, `domain:Name` otherwise. */
export const operatorName = ({ domain, opType }: Pick<NodeProto, 'domain' | 'opType'>) =>
  domain === '' || domain === 'ai.onnx' ? opType : `${domain}:${opType}`

/** Types of a node's outputs, one for each; unknown where there is no rule. Throws MODEL_INVALID for shapes that clash. */
export function inferNode(context: Context): Type[] {
  const found = operators[operatorName(context.node)]?.(context) ?? []
  return context.node.output.map((_, i) => found[i] ?? nothing)
}
