import type { Attribute } from './attributes.ts'
import type { GraphBuilder, Value } from './builder.ts'
import type { Dim, Shape } from './shape.ts'
import { type DataType, dataTypes, float32, fromNumbers, int64, type Tensor } from './tensor.ts'

/** A value, or a number that becomes a scalar constant of the other operand's type. */
export type Operand = Value | number

type Unary = (x: Value) => Value
type Binary = (a: Operand, b: Operand) => Value

/** The graph to add to: the innermost one among the operands', so that bodies may use outer values. */
export function graphFor(values: readonly (Value | undefined)[]): GraphBuilder {
  let found: GraphBuilder | undefined
  let depth = -1
  for (const value of values) {
    if (!value) continue
    let d = 0
    for (let g = value.graph.parent; g; g = g.parent) d++
    if (d > depth) [found, depth] = [value.graph, d]
  }
  if (!found) throw new TypeError('an operator needs at least one value')
  return current.at(-1) ?? found
}

const current: GraphBuilder[] = []

/** Runs `build` so that every operator in it adds its node to `graph`, whatever graph its operands come from. */
export function within<T>(graph: GraphBuilder, build: () => T): T {
  current.push(graph)
  try {
    return build()
  } finally {
    current.pop()
  }
}

function apply(
  op: string,
  inputs: readonly (Value | undefined)[],
  attributes: Record<string, Attribute | undefined> = {},
) {
  return graphFor(inputs).node(op, inputs, attributes)[0]
}

const unary =
  (op: string): Unary =>
  (x) =>
    apply(op, [x])
const binary =
  (op: string): Binary =>
  (a, b) => {
    const like = (typeof a === 'number' ? b : a) as Value
    return apply(op, [operand(a, like), operand(b, like)])
  }
const operand = (x: Operand, like: Value): Value =>
  typeof x === 'number' ? constant(like, fromNumbers(like.dtype, [], [x])) : x

/** A constant in the graph that `near` belongs to. */
export const constant = (near: Value, tensor: Tensor): Value => near.graph.constant(tensor)
/** A one-dimensional int64 constant. */
export const ints = (near: Value, values: readonly number[]): Value => constant(near, int64([values.length], values))
/** A scalar constant of the value's own type. */
export const scalarLike = (near: Value, value: number): Value => constant(near, fromNumbers(near.dtype, [], [value]))

export const neg = unary('Neg')
export const exp = unary('Exp')
export const log = unary('Log')
export const sqrt = unary('Sqrt')
export const abs = unary('Abs')
export const sign = unary('Sign')
export const erf = unary('Erf')
export const sin = unary('Sin')
export const cos = unary('Cos')
export const tanh = unary('Tanh')
export const sigmoid = unary('Sigmoid')
export const relu = unary('Relu')
export const reciprocal = unary('Reciprocal')
export const floor = unary('Floor')
export const not = unary('Not')
export const identity = unary('Identity')
export const shapeOf = unary('Shape')
export const sizeOf = unary('Size')

export const add = binary('Add')
export const sub = binary('Sub')
export const mul = binary('Mul')
export const div = binary('Div')
export const pow = binary('Pow')
export const mod = binary('Mod')
export const max = binary('Max')
export const min = binary('Min')
export const equal = binary('Equal')
export const less = binary('Less')
export const lessOrEqual = binary('LessOrEqual')
export const greater = binary('Greater')
export const greaterOrEqual = binary('GreaterOrEqual')
export const and = binary('And')
export const or = binary('Or')
export const matMul = binary('MatMul')
export const bitwiseXor = binary('BitwiseXor')
export const bitwiseAnd = binary('BitwiseAnd')
export const bitShift = (a: Operand, b: Operand, direction: 'LEFT' | 'RIGHT') => {
  const like = (typeof a === 'number' ? b : a) as Value
  return apply('BitShift', [operand(a, like), operand(b, like)], { direction })
}

/** Sum of any number of values, broadcast. */
export const sum = (...values: Value[]) => (values.length === 1 ? values[0] : apply('Sum', values))

/** Matrix product with either side transposed in its last two axes, by one fused kernel of onnxruntime. */
export function fusedMatMul(
  a: Value,
  b: Value,
  options: { transA?: boolean; transB?: boolean; alpha?: number } = {},
): Value {
  const { transA, transB, alpha = 1 } = options
  const attributes = { transA: Number(transA ?? false), transB: Number(transB ?? false), alpha: { float: alpha } }
  return graphFor([a, b]).node('FusedMatMul', [a, b], attributes, 1, 'com.microsoft')[0]
}

/** `alpha · A' B' + beta · C` for matrices, A and B transposed on request. */
export const gemm = (
  a: Value,
  b: Value,
  c?: Value,
  options: { transA?: boolean; transB?: boolean; alpha?: number; beta?: number } = {},
) =>
  apply('Gemm', [a, b, c], {
    transA: options.transA ? 1 : undefined,
    transB: options.transB ? 1 : undefined,
    alpha: options.alpha === undefined ? undefined : { float: options.alpha },
    beta: options.beta === undefined ? undefined : { float: options.beta },
  })

/** x·Φ(x) with the normal distribution's Φ, or its approximation by the hyperbolic tangent. */
export const gelu = (x: Value, approximate: 'none' | 'tanh' = 'none') =>
  apply('Gelu', [x], { approximate: approximate === 'none' ? undefined : approximate })

export const softmax = (x: Value, axis = -1) => apply('Softmax', [x], { axis })
export const logSoftmax = (x: Value, axis = -1) => apply('LogSoftmax', [x], { axis })
export const cumSum = (x: Value, axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}) =>
  apply('CumSum', [x, constant(x, int64([], [axis]))], {
    exclusive: Number(options.exclusive ?? false),
    reverse: Number(options.reverse ?? false),
  })

/** Bounds each element; either bound may be left out. */
export const clip = (x: Value, low?: Operand, high?: Operand) =>
  apply('Clip', [x, low === undefined ? undefined : operand(low, x), high === undefined ? undefined : operand(high, x)])

type Reduction = (x: Value, axes?: readonly number[], keepDims?: boolean) => Value
/** Reductions take their axes as an input from opset 18 on (ReduceSum from 13); no axes means all. */
const reduction =
  (op: string): Reduction =>
  (x, axes, keepDims = false) =>
    apply(op, [x, axes && ints(x, axes)], { keepdims: Number(keepDims) })
export const reduceSum = reduction('ReduceSum')
export const reduceMean = reduction('ReduceMean')
export const reduceMax = reduction('ReduceMax')
export const reduceMin = reduction('ReduceMin')
export const reduceSumSquare = reduction('ReduceSumSquare')
export const argMax = (x: Value, axis: number, keepDims = false) =>
  apply('ArgMax', [x], { axis, keepdims: Number(keepDims) })

/** Reshapes to known dimensions (0 copies, -1 infers), or to a shape computed in the graph. */
export const reshape = (x: Value, shape: readonly number[] | Value) =>
  apply('Reshape', [x, isList(shape) ? ints(x, shape) : shape])
export const transpose = (x: Value, perm?: readonly number[]) => apply('Transpose', [x], { perm })
export const concat = (values: readonly Value[], axis: number) =>
  values.length === 1 ? values[0] : apply('Concat', values, { axis })
export const split = (x: Value, sizes: readonly number[], axis: number): Value[] =>
  graphFor([x]).node('Split', [x, ints(x, sizes)], { axis }, sizes.length)
export const slice = (
  x: Value,
  starts: readonly number[],
  ends: readonly number[],
  axes: readonly number[],
  steps?: readonly number[],
) => apply('Slice', [x, ints(x, starts), ints(x, ends), ints(x, axes), steps && ints(x, steps)])
export const squeeze = (x: Value, axes: readonly number[]) => apply('Squeeze', [x, ints(x, axes)])
export const unsqueeze = (x: Value, axes: readonly number[]) => apply('Unsqueeze', [x, ints(x, axes)])
export const expand = (x: Value, shape: Value | readonly number[]) =>
  apply('Expand', [x, isList(shape) ? ints(x, shape) : shape])
export const tile = (x: Value, repeats: Value | readonly number[]) =>
  apply('Tile', [x, isList(repeats) ? ints(x, repeats) : repeats])

export const gather = (data: Value, indices: Value, axis = 0) => apply('Gather', [data, indices], { axis })
export const gatherElements = (data: Value, indices: Value, axis = 0) =>
  apply('GatherElements', [data, indices], { axis })
export const gatherND = (data: Value, indices: Value, batchDims = 0) =>
  apply('GatherND', [data, indices], { batch_dims: batchDims })
export const scatterND = (data: Value, indices: Value, updates: Value, reduction: 'none' | 'add' = 'none') =>
  apply('ScatterND', [data, indices, updates], { reduction })
export const scatterElements = (
  data: Value,
  indices: Value,
  updates: Value,
  axis = 0,
  reduction: 'none' | 'add' = 'none',
) => apply('ScatterElements', [data, indices, updates], { axis, reduction })

export const where = (condition: Value, yes: Operand, no: Operand) => {
  const like = (typeof yes === 'number' ? no : yes) as Value
  return apply('Where', [condition, operand(yes, like), operand(no, like)])
}
export const cast = (x: Value, to: DataType) => (x.dtype === to ? x : apply('Cast', [x], { to: dataTypes[to].onnx }))
export const range = (start: Value, limit: Value, delta: Value) => apply('Range', [start, limit, delta])
/** A tensor of the shape (a one-dimensional int64 value) filled with one number. */
export const constantOfShape = (shape: Value, value: number, dtype: DataType = 'float32') =>
  apply('ConstantOfShape', [shape], { value: fromNumbers(dtype, [1], [value]) })
export const oneHot = (indices: Value, depth: Value, values: Value, axis = -1) =>
  apply('OneHot', [indices, depth, values], { axis })

/** The size of one axis: an int64 tensor of one element. */
export function dimension(x: Value, axis: number): Value {
  const at = axis < 0 ? axis + x.shape.length : axis
  const dim: Dim = x.shape[at]
  if (typeof dim === 'number') return ints(x, [dim])
  return graphFor([x]).size(dim, () => apply('Shape', [x], { start: at, end: at + 1 }))
}

/** The shape of a value as int64: a constant where it is known. */
export function shapeValue(x: Value): Value {
  const shape: Shape = x.shape
  if (shape.every((dim) => typeof dim === 'number')) return ints(x, shape)
  return graphFor([x]).size(shape.join(), () => shapeOf(x))
}

export const zerosLike = (x: Value) => constantOfShape(shapeValue(x), 0, x.dtype)

/** Reverses the first `lengths[b]` steps of each sequence b of x (time, batch, …); lengths int64 (batch). */
export const reverseSequence = (x: Value, lengths: Value) =>
  apply('ReverseSequence', [x, lengths], { time_axis: 0, batch_axis: 1 })

/** Adds zeros before and after each axis: all befores, then all afters. */
export const pad = (x: Value, pads: readonly number[]) => apply('Pad', [x, ints(x, pads)])

/** Convolution: x (batch, channels, …), weight (filters, channels, …window); pads as for `pad`, over the … axes alone. */
export const conv = (x: Value, weight: Value, pads?: readonly number[], strides?: readonly number[]) =>
  apply('Conv', [x, weight], { pads, strides })

export const globalAveragePool = unary('GlobalAveragePool')
/** All axes but the first as one. */
export const flatten = unary('Flatten')

/**
 * Normalises over the last axis; `scale` and `bias` have its size. With `statistics` the node also puts out mean and
 * inverse deviation, which spares its gradient from computing them again.
 */
export const layerNormalization = (x: Value, scale: Value, bias?: Value, { epsilon = 1e-5, statistics = false } = {}) =>
  graphFor([x]).node(
    'LayerNormalization',
    [x, scale, bias],
    { axis: -1, epsilon: { float: epsilon } },
    statistics ? ['Y', 'Mean', 'InvStdDev'] : ['Y'],
  )[0]

/**
 * Division by the root of the mean square over the last axis, times `scale`: an operator that onnxruntime keeps in the
 * domain ai.onnx though no opset has it, so for training graphs alone. Its second output is the inverse root.
 */
export const simplifiedLayerNormalization = (x: Value, scale: Value, epsilon: number) =>
  graphFor([x]).node('SimplifiedLayerNormalization', [x, scale], { axis: -1, epsilon: { float: epsilon } }, [
    'Y',
    'InvStdDev',
  ])[0]

/** ONNX's fused recurrent operators: inputs x (time, batch, width), W, R, B, lengths → all states (time, directions, batch, hidden). */
export const recurrent = (
  operator: 'LSTM' | 'GRU' | 'RNN',
  inputs: readonly Value[],
  hidden: number,
  direction: 'forward' | 'bidirectional',
  attributes: Record<string, number> = {},
): Value => graphFor(inputs).node(operator, inputs, { hidden_size: hidden, direction, ...attributes }, ['Y'])[0]

/**
 * Scan over the leading axis of `scans` (or backwards). `step` receives the states and one slice of each scan and
 * returns the new states and what is to be stacked.
 */
export function scan(
  states: readonly Value[],
  scans: readonly Value[],
  step: (states: Value[], slices: Value[]) => { states: readonly Value[]; outputs: readonly Value[] },
  options: { reverse?: boolean } = {},
): { states: Value[]; outputs: Value[] } {
  const outer = graphFor([...states, ...scans])
  const inner = outer.subgraph()
  const { states: next, outputs } = within(inner, () =>
    step(
      states.map((state, i) => inner.input(`state${i}`, state.dtype, state.shape)),
      scans.map((value, i) => inner.input(`slice${i}`, value.dtype, value.shape.slice(1))),
    ),
  )
  // ONNX wants every output of a body to be made by a node of that body, and no value to be an output twice
  const seen = new Set<string>()
  within(inner, () => {
    for (const value of [...next, ...outputs]) {
      const fresh = !inner.owns(value) || inner.inputs.includes(value) || seen.has(value.name) ? identity(value) : value
      seen.add(fresh.name)
      inner.output(fresh)
    }
  })
  const direction = options.reverse ? 1 : 0
  const results = outer.node(
    'Scan',
    [...states, ...scans],
    {
      body: inner.body(),
      num_scan_inputs: scans.length,
      scan_input_directions: scans.map(() => direction),
      scan_output_directions: outputs.map(() => direction),
    },
    states.length + outputs.length,
  )
  return { states: results.slice(0, states.length), outputs: results.slice(states.length) }
}

const isList = (value: Value | readonly number[]): value is readonly number[] => Array.isArray(value)

/** A scalar float constant in a graph that has no values yet. */
export const floatConstant = (graph: GraphBuilder, value: number) => graph.constant(float32([], [value]))
