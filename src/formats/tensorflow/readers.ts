import { fail } from '../../base/errors.ts'
import type { GraphBuilder, Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import type { DataType } from '../../graph/tensor.ts'
import { invalid } from '../source.ts'
import type { NodeDef } from './gen/tensorflow_pb.js'
import { averagePool, batchNormalization, convolution, depthwise, fused, maxPool } from './images.ts'
import { typeOfNumber } from './tensors.ts'

/** A node that is read: its inputs as values, its attributes read with care. */
export class Reading {
  readonly graph: GraphBuilder
  readonly node: NodeDef
  readonly inputs: readonly Value[]

  constructor(graph: GraphBuilder, node: NodeDef, inputs: readonly Value[]) {
    this.graph = graph
    this.node = node
    this.inputs = inputs
  }

  get where(): string {
    return `${this.node.op.slice(0, 60)} "${this.node.name.slice(0, 120)}"`
  }
  /** Throws UNSUPPORTED naming the node. */
  refuse(why: string): never {
    throw fail('UNSUPPORTED', {
      what: `the TensorFlow operator ${this.where}`,
      instead: `${why[0].toUpperCase()}${why.slice(1)}. Convert the model to ONNX with tf2onnx and import that.`,
    })
  }
  input(i: number): Value {
    return this.inputs[i] ?? this.invalid(`its input ${i} is missing`)
  }
  invalid(why: string): never {
    throw invalid('TensorFlow', `${this.where}: ${why}`)
  }
  /** The whole numbers of an input that is a constant, or a shape that is known. */
  ints(i: number): number[] {
    const dims = this.input(i).ints
    return dims?.every((dim) => typeof dim === 'number')
      ? [...(dims as number[])]
      : this.refuse(`its input ${i} is computed`)
  }
  int(name: string, absent: number): number {
    const value = this.node.attr[name]?.value
    return value?.case === 'i' ? Number(value.value) : absent
  }
  float(name: string, absent: number): number {
    const value = this.node.attr[name]?.value
    return value?.case === 'f' ? value.value : absent
  }
  flag(name: string, absent = false): boolean {
    const value = this.node.attr[name]?.value
    return value?.case === 'b' ? value.value : absent
  }
  text(name: string, absent: string): string {
    const value = this.node.attr[name]?.value
    return value?.case === 's' ? new TextDecoder().decode(value.value) : absent
  }
  texts(name: string): string[] {
    const value = this.node.attr[name]?.value
    return value?.case === 'list' ? value.value.s.map((bytes) => new TextDecoder().decode(bytes)) : []
  }
  list(name: string): number[] {
    const value = this.node.attr[name]?.value
    return value?.case === 'list' ? value.value.i.map(Number) : []
  }
  type(name: string, absent: DataType): DataType {
    const value = this.node.attr[name]?.value
    return value?.case === 'type' ? typeOfNumber(value.value, this.where) : absent
  }
}
type Rule = (r: Reading) => Value | Value[]

const unary =
  (apply: (x: Value) => Value): Rule =>
  (r) =>
    apply(r.input(0))
const binary =
  (apply: (a: Value, b: Value) => Value): Rule =>
  (r) =>
    apply(r.input(0), r.input(1))
const long = (x: Value) => o.cast(x, 'int64')
const isFloat = ({ dtype }: Value) => dtype === 'float32' || dtype === 'float64' || dtype === 'float16'
/** ONNX's operator of that name, for those that have no function of their own. */
const named =
  (op: string, attributes: (r: Reading) => Record<string, number | string> = () => ({})): Rule =>
  (r) =>
    r.graph.node(op, r.inputs, attributes(r))

const floorDivision = (a: Value, b: Value): Value => {
  if (isFloat(a)) return o.floor(o.div(a, b))
  const known = [a, b].every(({ ints }) => ints?.every((dim) => typeof dim === 'string' || dim >= 0))
  return known ? o.div(a, b) : o.div(o.sub(a, o.mod(a, b)), b)
}
const floorModulus = (a: Value, b: Value) => (isFloat(a) ? o.sub(a, o.mul(o.floor(o.div(a, b)), b)) : o.mod(a, b))

const reduction =
  (reduce: (x: Value, axes: readonly number[], keep: boolean) => Value): Rule =>
  (r) => {
    const [x, axes] = [r.input(0), r.input(1)]
    if (axes.shape[0] === 0) return x
    return reduce(x, r.ints(1), r.flag('keep_dims'))
  }
const truth =
  (reduce: (x: Value, axes: readonly number[], keep: boolean) => Value): Rule =>
  (r) =>
    o.cast(reduce(o.cast(r.input(0), 'int32'), r.ints(1), r.flag('keep_dims')), 'bool')
const reduceProduct = (x: Value, axes: readonly number[], keep: boolean) =>
  o.graphFor([x]).node('ReduceProd', [x, o.ints(x, axes)], { keepdims: keep ? 1 : 0 })[0]

const matMul: Rule = (r) => {
  const [a, b] = ['transpose_a', 'transpose_b'].map((flag, i) =>
    r.flag(flag) ? o.transpose(r.input(i), [1, 0]) : r.input(i),
  )
  return o.matMul(a, b)
}
const batchMatMul: Rule = (r) => {
  const swapped = (x: Value) => {
    const axes = x.shape.map((_, i) => i)
    return o.transpose(x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2])
  }
  const [a, b] = ['adj_x', 'adj_y'].map((flag, i) => (r.flag(flag) ? swapped(r.input(i)) : r.input(i)))
  return o.matMul(a, b)
}

/** A condition of one axis chooses whole rows, in the old operator. */
const select: Rule = (r) => {
  const [condition, yes, no] = [0, 1, 2].map((i) => r.input(i))
  const missing = yes.shape.length - condition.shape.length
  if (r.node.op === 'SelectV2' || condition.shape.length !== 1 || missing < 1) return o.where(condition, yes, no)
  return o.where(
    o.unsqueeze(
      condition,
      Array.from({ length: missing }, (_, i) => i + 1),
    ),
    yes,
    no,
  )
}

const strided: Rule = (r) => {
  const x = r.input(0)
  const mask = (name: string) => (i: number) => ((r.int(`${name}_mask`, 0) >> i) & 1) === 1
  const [begins, ends, ellipsis, fresh, shrinks] = ['begin', 'end', 'ellipsis', 'new_axis', 'shrink_axis'].map(mask)
  const [from, to, by] = [1, 2, 3].map((i) => r.input(i).ints ?? r.refuse('its places are computed'))
  const number = (list: readonly (number | string)[], i: number) =>
    typeof list[i] === 'number' ? Number(list[i]) : r.refuse('its places are computed')
  const counted = from.filter((_, i) => !fresh(i) && !ellipsis(i)).length
  const cut: { start: number; end: number; axis: number; step: number }[] = []
  const added: number[] = []
  const dropped: number[] = []
  let [axis, place] = [0, 0]
  from.forEach((_, i) => {
    if (ellipsis(i)) {
      const skipped = x.shape.length - counted
      axis += skipped
      place += skipped
    } else if (fresh(i)) added.push(place++)
    else {
      const step = number(by, i)
      const far = 2 ** 31 - 1
      if (shrinks(i)) {
        const start = number(from, i)
        cut.push({ start, end: start === -1 ? far : start + 1, axis, step: 1 })
        dropped.push(axis)
      } else {
        const start = begins(i) ? (step > 0 ? 0 : far) : number(from, i)
        const end = ends(i) ? (step > 0 ? far : -far) : number(to, i)
        if (start !== 0 || end !== far || step !== 1) cut.push({ start, end, axis, step })
        place++
      }
      axis++
    }
  })
  const column = (key: keyof (typeof cut)[number]) => cut.map((one) => one[key])
  let y = cut.length > 0 ? o.slice(x, column('start'), column('end'), column('axis'), column('step')) : x
  if (dropped.length > 0) y = o.squeeze(y, dropped)
  return added.length > 0 ? o.unsqueeze(y, added) : y
}

const slice: Rule = (r) => {
  const [begins, sizes] = [r.ints(1), r.ints(2)]
  const ends = begins.map((begin, i) => (sizes[i] === -1 ? 2 ** 31 - 1 : begin + sizes[i]))
  return o.slice(
    r.input(0),
    begins,
    ends,
    begins.map((_, i) => i),
  )
}

const reverse: Rule = (r) => {
  const axes = r.ints(1)
  const all = (value: number) => axes.map(() => value)
  return o.slice(r.input(0), all(-1), all(-(2 ** 31)), axes, all(-1))
}

const concat: Rule = (r) => {
  const [axis] = r.ints(r.inputs.length - 1)
  return o.concat(r.inputs.slice(0, -1), axis)
}
const pack: Rule = (r) => {
  const axis = r.int('axis', 0)
  return o.concat(
    r.inputs.map((x) => o.unsqueeze(x, [axis])),
    axis,
  )
}
const unpack: Rule = (r) => {
  const [x, axis, count] = [r.input(0), r.int('axis', 0), r.int('num', 0)]
  if (count < 1 || count > 10_000) r.refuse('it has no fixed number of outputs')
  return Array.from({ length: count }, (_, i) => o.squeeze(o.slice(x, [i], [i + 1], [axis]), [axis]))
}
const split: Rule = (r) => {
  const [[axis], x, count] = [r.ints(0), r.input(1), r.int('num_split', 1)]
  const size = x.shape.at(axis)
  if (typeof size !== 'number' || size % count !== 0 || count > 10_000)
    return r.refuse('the size of its axis is not known')
  return o.split(x, Array<number>(count).fill(size / count), axis)
}
const splitSizes: Rule = (r) => o.split(r.input(0), r.ints(1), r.ints(2)[0])

const gather: Rule = (r) => {
  if (r.int('batch_dims', 0) !== 0) r.refuse('it gathers along batches')
  return o.gather(r.input(0), r.input(1), r.inputs[2] ? r.ints(2)[0] : 0)
}
/** Joined on: onnxruntime 1.30 merges a Pad into the pooling after it, even where pooling cannot have such pads. */
const pad: Rule = (r) => {
  const x = r.input(0)
  const pairs = r.ints(1)
  const value = r.inputs[2] ?? o.scalarLike(x, 0)
  return x.shape.reduce<Value>((padded, _, axis) => {
    const filled = (size: number): Value[] => {
      if (size === 0) return []
      const dims = padded.shape.map((_, i) => (i === axis ? o.ints(padded, [size]) : o.dimension(padded, i)))
      return [o.expand(value, o.concat(dims, 0))]
    }
    return o.concat([...filled(pairs[2 * axis]), padded, ...filled(pairs[2 * axis + 1])], axis)
  }, x)
}
const shapeAs = (x: Value, type: DataType) => o.cast(x, type)
const argument =
  (op: 'ArgMax' | 'ArgMin'): Rule =>
  (r) =>
    o.cast(r.graph.node(op, [r.input(0)], { axis: r.ints(1)[0], keepdims: 0 })[0], r.type('output_type', 'int64'))

const biasAdd: Rule = (r) => {
  const [x, bias] = [r.input(0), r.input(1)]
  if (r.text('data_format', 'NHWC') !== 'NHWC') r.refuse('its channels come first')
  return o.add(x, bias)
}

/** TensorFlow's operators in ONNX's: what is not in this table is refused by name. */
export const readers: Record<string, Rule> = {
  AddV2: binary(o.add),
  Add: binary(o.add),
  AddN: (r) => r.inputs.slice(1).reduce((sum, x) => o.add(sum, x), r.input(0)),
  BiasAdd: biasAdd,
  Sub: binary(o.sub),
  Mul: binary(o.mul),
  RealDiv: binary(o.div),
  Div: binary(o.div),
  TruncateDiv: binary(o.div),
  DivNoNan: binary((a, b) => o.where(o.equal(b, 0), o.scalarLike(a, 0), o.div(a, b))),
  FloorDiv: binary(floorDivision),
  FloorMod: binary(floorModulus),
  Pow: binary(o.pow),
  Maximum: binary(o.max),
  Minimum: binary(o.min),
  SquaredDifference: binary((a, b) => o.mul(o.sub(a, b), o.sub(a, b))),
  Neg: unary(o.neg),
  Abs: unary(o.abs),
  Sign: unary(o.sign),
  Exp: unary(o.exp),
  Log: unary(o.log),
  Log1p: unary((x) => o.log(o.add(x, 1))),
  Expm1: unary((x) => o.sub(o.exp(x), 1)),
  Sqrt: unary(o.sqrt),
  Rsqrt: unary((x) => o.reciprocal(o.sqrt(x))),
  Square: unary((x) => o.mul(x, x)),
  Reciprocal: unary(o.reciprocal),
  Inv: unary(o.reciprocal),
  Sin: unary(o.sin),
  Cos: unary(o.cos),
  Erf: unary(o.erf),
  Erfc: unary((x) => o.sub(1, o.erf(x))),
  Floor: unary(o.floor),
  Ceil: named('Ceil'),
  Round: named('Round'),
  Tanh: unary(o.tanh),
  Sigmoid: unary(o.sigmoid),
  Relu: unary(o.relu),
  Relu6: unary((x) => o.clip(x, 0, 6)),
  LeakyRelu: named('LeakyRelu', (r) => ({ alpha: r.float('alpha', 0.2) })),
  Elu: named('Elu'),
  Selu: named('Selu'),
  Softplus: named('Softplus'),
  Softsign: named('Softsign'),
  Softmax: unary((x) => o.softmax(x)),
  LogSoftmax: unary((x) => o.logSoftmax(x)),
  ClipByValue: (r) => o.min(o.max(r.input(0), r.input(1)), r.input(2)),
  Less: binary(o.less),
  LessEqual: binary(o.lessOrEqual),
  Greater: binary(o.greater),
  GreaterEqual: binary(o.greaterOrEqual),
  Equal: binary(o.equal),
  NotEqual: binary((a, b) => o.not(o.equal(a, b))),
  LogicalAnd: binary(o.and),
  LogicalOr: binary(o.or),
  LogicalNot: unary(o.not),
  Select: select,
  SelectV2: select,
  Cast: (r) => o.cast(r.input(0), r.type('DstT', 'float32')),
  MatMul: matMul,
  BatchMatMul: batchMatMul,
  BatchMatMulV2: batchMatMul,
  Einsum: named('Einsum', (r) => ({ equation: r.text('equation', '') })),
  Sum: reduction(o.reduceSum),
  Mean: reduction(o.reduceMean),
  Max: reduction(o.reduceMax),
  Min: reduction(o.reduceMin),
  Prod: reduction(reduceProduct),
  Any: truth(o.reduceMax),
  All: truth(o.reduceMin),
  ArgMax: argument('ArgMax'),
  ArgMin: argument('ArgMin'),
  Reshape: (r) => o.reshape(r.input(0), long(r.input(1))),
  ExpandDims: (r) => o.unsqueeze(r.input(0), [r.ints(1)[0]]),
  Squeeze: (r) => {
    const given = r.list('squeeze_dims')
    const ones = r.input(0).shape.flatMap((dim, i) => (dim === 1 ? [i] : []))
    return o.squeeze(r.input(0), given.length > 0 ? given : ones)
  },
  Transpose: (r) => o.transpose(r.input(0), r.ints(1)),
  ConcatV2: concat,
  Pack: pack,
  Unpack: unpack,
  Split: split,
  SplitV: splitSizes,
  StridedSlice: strided,
  Slice: slice,
  ReverseV2: reverse,
  Tile: (r) => o.tile(r.input(0), long(r.input(1))),
  Fill: (r) => o.expand(r.input(1), long(r.input(0))),
  BroadcastTo: (r) => o.expand(r.input(0), long(r.input(1))),
  ZerosLike: unary(o.zerosLike),
  OnesLike: unary((x) => o.constantOfShape(o.shapeValue(x), 1, x.dtype)),
  Shape: (r) => shapeAs(o.shapeOf(r.input(0)), r.type('out_type', 'int32')),
  Size: (r) => shapeAs(o.sizeOf(r.input(0)), r.type('out_type', 'int32')),
  Rank: (r) => r.graph.constant({ dtype: 'int32', dims: [], data: Int32Array.of(r.input(0).shape.length) }),
  Range: (r) => o.range(r.input(0), r.input(1), r.input(2)),
  GatherV2: gather,
  Gather: gather,
  GatherNd: (r) => o.gatherND(r.input(0), long(r.input(1))),
  Pad: pad,
  PadV2: pad,
  OneHot: (r) => {
    const values = o.concat(
      [r.input(3), r.input(2)].map((x) => o.unsqueeze(x, [0])),
      0,
    )
    return o.oneHot(r.input(0), long(r.input(1)), values, r.int('axis', -1))
  },
  Cumsum: (r) => o.cumSum(r.input(0), r.ints(1)[0], { exclusive: r.flag('exclusive'), reverse: r.flag('reverse') }),
  TopKV2: (r) => {
    const [values, indices] = r.graph.node('TopK', [r.input(0), o.reshape(long(r.input(1)), [1])], {}, 2)
    return [values, o.cast(indices, 'int32')]
  },
  Conv2D: convolution,
  DepthwiseConv2dNative: depthwise,
  MaxPool: maxPool,
  AvgPool: averagePool,
  FusedBatchNormV3: batchNormalization,
  FusedBatchNorm: batchNormalization,
  _FusedMatMul: fused(matMul),
  _FusedConv2D: fused(convolution),
  FusedDepthwiseConv2dNative: fused(depthwise),
}
