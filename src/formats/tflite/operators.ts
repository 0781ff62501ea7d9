import { type DataType, float32, type Tensor } from '../../graph/tensor.ts'
import { permuted } from '../keras/convolution.ts'
import type { Field, Options } from './schema.ts'

/** A node of a TensorFlow graph that becomes operators of TensorFlow Lite. */
export interface Lowering {
  readonly op: string
  /** Its inputs by their names. */
  readonly inputs: readonly string[]
  int(name: string): number
  flag(name: string): boolean
  list(name: string): number[]
  type(name: string): DataType
  /** The i-th input, if it is stored. */
  stored(i: number): Tensor
  /** Adds an operator, and returns the names of its outputs; they are of `type`. */
  add(code: number, inputs: readonly string[], type: DataType, options?: Options, outputs?: number): string[]
  constant(tensor: Tensor): string
  refuse(why: string): never
}
type Rule = (n: Lowering) => string[]

const options = (table: number, ...fields: Field[]): Options => ({ table, fields })
/** An operator with the same inputs, whose output is of the type that the attribute names. */
const same =
  (code: number, type = 'T', of?: (n: Lowering) => Options): Rule =>
  (n) =>
    n.add(code, n.inputs, n.type(type), of?.(n))
const truth =
  (code: number): Rule =>
  (n) =>
    n.add(code, n.inputs, 'bool')
const reduce = (code: number): Rule => same(code, 'T', (n) => options(27, { bool: n.flag('keep_dims') }))
const scalar = (n: Lowering, value: number) => n.constant(float32([], [value]))

const [ADD, MUL, DIV, SUB, EXP, NEG, ABS] = [0, 18, 42, 41, 47, 59, 101]
const add = (n: Lowering, a: string, b: string) => n.add(ADD, [a, b], 'float32', options(11))[0]
const mul = (n: Lowering, a: string, b: string) => n.add(MUL, [a, b], 'float32', options(21))[0]
const div = (n: Lowering, a: string, b: string) => n.add(DIV, [a, b], 'float32', options(29))[0]

/** Abramowitz & Stegun 7.1.26, which is off by 1.5e-7 at most: there is no such operator. */
const erf: Rule = (n) => {
  const [x] = n.inputs
  const [magnitude] = n.add(ABS, [x], 'float32')
  const t = div(n, scalar(n, 1), add(n, mul(n, magnitude, scalar(n, 0.3275911)), scalar(n, 1)))
  const series = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]
  const sum = series.slice(1).reduce((so, term) => add(n, mul(n, so, t), scalar(n, term)), scalar(n, series[0]))
  const [falling] = n.add(EXP, n.add(NEG, [mul(n, x, x)], 'float32'), 'float32')
  const [rest] = n.add(SUB, [scalar(n, 1), mul(n, mul(n, sum, t), falling)], 'float32', options(28))
  return [mul(n, div(n, x, add(n, magnitude, scalar(n, 1e-30))), rest)]
}

const convolution: Rule = (n) => {
  const [, strideHeight, strideWidth] = n.list('strides')
  const [, dilationHeight, dilationWidth] = n.list('dilations')
  const kernel = n.stored(1)
  const filter = n.constant(permuted(kernel, [3, 0, 1, 2])) // (filters, height, width, channels)
  const filters = kernel.dims[3]
  const bias = n.constant(float32([filters], new Float32Array(filters))) // what is added stands behind it; it wants one
  const [w, h, dw, dh] = [strideWidth, strideHeight, dilationWidth, dilationHeight].map((int) => ({ int }))
  return n.add(3, [n.inputs[0], filter, bias], 'float32', options(1, VALID, w, h, { byte: 0 }, dw, dh))
}
const VALID: Field = { byte: 1 }

const pool =
  (code: number): Rule =>
  (n) => {
    const [, height, width] = n.list('ksize')
    const [, strideHeight, strideWidth] = n.list('strides')
    const sizes = [strideWidth, strideHeight, width, height].map((int) => ({ int }))
    return n.add(code, n.inputs, 'float32', options(5, VALID, ...sizes))
  }

const stridedSlice: Rule = same(45, 'T', (n) => {
  const masks = ['begin_mask', 'end_mask', 'ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask']
  return options(32, ...masks.map((name) => ({ int: n.int(name) })))
})

/** The one number of a stored input. */
const numberAt = (n: Lowering, i: number) => Number(n.stored(i).data[0])

/** TensorFlow's operators in TensorFlow Lite's, by their numbers in BuiltinOperator. */
export const lowerings: Record<string, Rule> = {
  AddV2: same(ADD, 'T', () => options(11)),
  Sub: same(SUB, 'T', () => options(28)),
  Mul: same(MUL, 'T', () => options(21)),
  RealDiv: same(DIV, 'T', () => options(29)),
  TruncateDiv: same(DIV, 'T', () => options(29)),
  FloorMod: same(95),
  Pow: same(78),
  Minimum: same(57),
  Maximum: same(55),
  Neg: same(NEG),
  Sqrt: same(75),
  Square: same(92),
  Exp: same(EXP),
  Log: same(73),
  Abs: same(ABS),
  Sin: same(66),
  Cos: same(108),
  Tanh: same(28),
  Sigmoid: same(14),
  Relu: same(19),
  Floor: same(8),
  Elu: same(111),
  Erf: erf,
  Reciprocal: (n) => [div(n, scalar(n, 1), n.inputs[0])],
  Less: truth(58),
  LessEqual: truth(63),
  Greater: truth(61),
  GreaterEqual: truth(62),
  Equal: truth(71),
  LogicalAnd: truth(86),
  LogicalOr: truth(84),
  LogicalNot: truth(87),
  Identity: (n) => [n.inputs[0]],
  SelectV2: same(123),
  Cast: same(53, 'DstT'),
  MatMul: same(126, 'T', (n) => options(101, { bool: n.flag('transpose_a') }, { bool: n.flag('transpose_b') })),
  BatchMatMulV2: same(126, 'T', (n) => options(101, { bool: n.flag('adj_x') }, { bool: n.flag('adj_y') })),
  GatherV2: (n) => n.add(36, n.inputs.slice(0, 2), n.type('Tparams'), options(23, { int: numberAt(n, 2) })),
  ConcatV2: (n) => {
    const axis = { int: numberAt(n, n.inputs.length - 1) }
    return n.add(2, n.inputs.slice(0, -1), n.type('T'), options(10, axis))
  },
  Pack: same(83, 'T', (n) => options(59, { int: n.inputs.length }, { int: n.int('axis') })),
  Reshape: same(22),
  Transpose: same(39),
  Squeeze: same(43, 'T', (n) => options(30, { ints: n.list('squeeze_dims') })),
  ExpandDims: same(70),
  Shape: same(77, 'out_type', (n) => options(55, { byte: n.type('out_type') === 'int64' ? 4 : 2 })),
  Slice: same(65),
  StridedSlice: stridedSlice,
  Range: same(96, 'Tidx'),
  Pad: same(34),
  PadV2: same(60),
  Fill: same(94),
  Sum: reduce(74),
  Mean: reduce(40),
  Max: reduce(82),
  Min: reduce(89),
  Prod: reduce(81),
  Softmax: same(25, 'T', () => options(9, { float: 1 })),
  Conv2D: convolution,
  MaxPool: pool(17),
  AvgPool: pool(1),
  SplitV: (n) => n.add(102, n.inputs, n.type('T'), options(79, { int: n.int('num_split') }), n.int('num_split')),
}
