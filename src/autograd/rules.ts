import { floatOf, intOf, intsOf, stringOf } from '../graph/attributes.ts'
import type { Node, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { axisOf } from '../graph/shape.ts'
import { numbers } from '../graph/tensor.ts'
import { activationRules } from './activations.ts'
import { convolutionRules } from './convolution.ts'
import { normalisationRules } from './normalisation.ts'
import { poolingRules } from './pooling.ts'
import { elementwise, product, type Rule, rows, rule, unbroadcast } from './rule.ts'
import { shapingRules } from './shaping.ts'

const matMul = rule(({ x: [a, b], dy }) => {
  if (b.shape.length === 2 && a.shape.length >= 2) {
    // a weight used on many rows: one large product for its gradient
    return [product(dy, b, false, true), product(rows(a), rows(dy), true, false)]
  }
  if (a.shape.length === 1 || b.shape.length === 1) {
    const [left, right] = [
      a.shape.length === 1 ? o.unsqueeze(a, [0]) : a,
      b.shape.length === 1 ? o.unsqueeze(b, [1]) : b,
    ]
    let full = dy
    if (b.shape.length === 1) full = o.unsqueeze(full, [-1])
    if (a.shape.length === 1) full = o.unsqueeze(full, [-2])
    const [da, db] = [product(full, right, false, true), product(left, full, true, false)]
    return [
      a.shape.length === 1 ? sumTo(o.squeeze(da, [-2]), a) : unbroadcast(da, a),
      b.shape.length === 1 ? sumTo(o.squeeze(db, [-1]), b) : unbroadcast(db, b),
    ]
  }
  return [unbroadcast(product(dy, b, false, true), a), unbroadcast(product(a, dy, true, false), b)]
})
const sumTo = (x: Value, like: Value) => unbroadcast(x, like)

/** Gradients of α·A'·B' where either side may be transposed in its last two axes. */
function productGradients(a: Value, b: Value, dy: Value, { proto }: Node): [Value, Value] {
  const [transA, transB] = [intOf(proto, 'transA', 0) === 1, intOf(proto, 'transB', 0) === 1]
  const alpha = floatOf(proto, 'alpha', 1)
  return [
    transA ? product(b, dy, transB, true, alpha) : product(dy, b, false, !transB, alpha),
    transB ? product(dy, a, true, transA, alpha) : product(a, dy, !transA, false, alpha),
  ]
}

const gemm = rule(({ x: [a, b, c], dy, node }) => {
  const beta = floatOf(node.proto, 'beta', 1)
  return [...productGradients(a, b, dy, node), c && unbroadcast(beta === 1 ? dy : o.mul(dy, beta), c)]
})

/** Of batches of matrices; models that have it are taken apart before, for it may exchange batch axes there. */
const fusedMatMul = rule(({ x: [a, b], dy, node }) => {
  const [da, db] = productGradients(a, b, dy, node)
  return [unbroadcast(da, a), unbroadcast(db, b)]
})

/** The axes a reduction ran over; all of them when none are given. */
function reducedAxes({ proto, inputs }: Node): number[] {
  const x = inputs[0]!
  const given = intsOf(proto, 'axes') ?? (inputs[1]?.tensor && numbers(inputs[1].tensor))
  return given?.map((axis) => axisOf(axis, x.shape.length, proto.name)) ?? [...x.shape.keys()]
}
/** Puts reduced axes back as ones, so that the value broadcasts against the reduction's input. */
const restore = (value: Value, node: Node) =>
  intOf(node.proto, 'keepdims', 1) === 1 ? value : o.unsqueeze(value, reducedAxes(node))

const spread = (value: Value, node: Node) => o.expand(restore(value, node), o.shapeValue(node.inputs[0]!))

/** Maximum or minimum: the gradient is shared equally among the elements that attain it. */
const extremum = rule(({ x, y, dy, node }) => {
  const hit = o.cast(o.equal(x[0], restore(y, node)), dy.dtype)
  const count = o.reduceSum(hit, reducedAxes(node), true)
  return [o.mul(o.div(hit, count), restore(dy, node))]
})

/** Binary maximum or minimum; ties go half to each side. */
const choice = (wins: (a: Value, b: Value) => Value): Rule =>
  rule(({ x: [a, b], dy }) => {
    if (!b) return [dy]
    const half = o.mul(o.cast(o.equal(a, b), dy.dtype), 0.5)
    const left = o.add(o.cast(wins(a, b), dy.dtype), half)
    return [unbroadcast(o.mul(dy, left), a), unbroadcast(o.mul(dy, o.sub(1, left)), b)]
  })

/** x·Φ(x) with the normal distribution's Φ, or its approximation by the hyperbolic tangent. */
const gelu = rule(({ x: [x], dy, node: { proto } }) => {
  const slope = stringOf(proto, 'approximate', 'none') === 'tanh' ? approximateSlope : exactSlope
  return [inPieces([x, dy], ([x, dy]) => o.mul(dy, slope(x)))]
})

/** Φ(x) + x·φ(x) in as few passes over the elements as there are operators for. */
function exactSlope(x: Value): Value {
  const u = o.mul(x, Math.SQRT1_2)
  // φ's constant is in the exponent: 2u · e^(-u²) / sqrt(4π) = u · e^(-u² - log sqrt(π))
  const tail = o.mul(u, o.exp(o.sub(-0.5 * Math.log(Math.PI), o.mul(u, u))))
  const [half] = x.graph.node('HardSigmoid', [o.erf(u)], { alpha: { float: 0.5 }, beta: { float: 0.5 } })
  return o.add(half, tail)
}

/** Of x·s with s = sigmoid(w), w = ax³ + bx, which is the same and takes fewer operators than the hyperbolic tangent. */
function approximateSlope(x: Value): Value {
  const b = 2 * Math.sqrt(2 / Math.PI)
  const w = o.mul(x, o.add(o.mul(o.mul(x, x), 0.044715 * b), b))
  const s = o.sigmoid(w)
  const rise = o.sub(o.mul(w, 3), o.mul(x, 2 * b)) // x · dw/dx
  return o.mul(s, o.add(o.sub(rise, o.mul(s, rise)), 1))
}

/** Elements of a row from which on it is worked on by itself. */
const PIECE = 512

/**
 * A chain of element-by-element operators, one item of the leading axis after the other where items are large: what lies
 * between the operators then stays in the cache, which takes a third of the time.
 */
function inPieces(inputs: readonly Value[], chain: (slices: readonly Value[]) => Value): Value {
  const [{ shape }] = inputs
  if (shape.length < 3 || !(Number(shape.at(-1)) >= PIECE)) return chain(inputs)
  return o.scan([], inputs, (_, slices) => ({ states: [], outputs: [chain(slices)] })).outputs[0]
}

const likeInput: Rule = rule(({ x, dy }) => [o.reshape(dy, o.shapeValue(x[0]))])

const softmaxAxis = (node: Node) => axisOf(intOf(node.proto, 'axis', -1), node.inputs[0]!.shape.length, node.proto.name)

/**
 * The gradient rules, one entry an operator (`Name`, or `domain:Name` outside ai.onnx). Rules are made of operators
 * that have rules themselves.
 */
export const rules: Record<string, Rule> = {
  ...activationRules,
  ...convolutionRules,
  ...normalisationRules,
  ...poolingRules,
  ...shapingRules,
  Add: rule(({ x: [a, b], dy }) => [unbroadcast(dy, a), unbroadcast(dy, b)]),
  Sub: rule(({ x: [a, b], dy }) => [unbroadcast(dy, a), unbroadcast(o.neg(dy), b)]),
  Mul: rule(({ x: [a, b], dy }) => [unbroadcast(o.mul(dy, b), a), unbroadcast(o.mul(dy, a), b)]),
  Div: rule(({ x: [a, b], y, dy }) => {
    const da = o.div(dy, b)
    return [unbroadcast(da, a), unbroadcast(o.neg(o.mul(da, y)), b)]
  }),
  Pow: rule(({ x: [a, b], y, dy }) => [
    unbroadcast(o.mul(dy, o.mul(b, o.pow(a, o.sub(b, 1)))), a),
    b.tensor ? undefined : unbroadcast(o.mul(dy, o.mul(y, o.log(a))), b),
  ]),
  Sum: rule(({ x, dy }) => x.map((value) => unbroadcast(dy, value))),
  Max: choice(o.greater),
  Min: choice(o.less),
  Neg: elementwise((_x, _y, dy) => o.neg(dy)),
  Exp: elementwise((_x, y, dy) => o.mul(dy, y)),
  Log: elementwise((x, _y, dy) => o.div(dy, x)),
  Sqrt: elementwise((_x, y, dy) => o.div(o.mul(dy, 0.5), y)),
  Reciprocal: elementwise((_x, y, dy) => o.neg(o.mul(dy, o.mul(y, y)))),
  Abs: elementwise((x, _y, dy) => o.mul(dy, o.sign(x))),
  Erf: elementwise((x, _y, dy) => o.mul(dy, o.mul(o.exp(o.neg(o.mul(x, x))), 2 / Math.sqrt(Math.PI)))),
  Gelu: gelu,
  Tanh: elementwise((_x, y, dy) => o.mul(dy, o.sub(1, o.mul(y, y)))),
  Sigmoid: elementwise((_x, y, dy) => o.mul(dy, o.mul(y, o.sub(1, y)))),
  Relu: elementwise((x, _y, dy) => o.mul(dy, o.cast(o.greater(x, 0), dy.dtype))),
  Identity: elementwise((_x, _y, dy) => dy),
  Cast: elementwise((x, _y, dy) => o.cast(dy, x.dtype)),
  Clip: elementwise((x, y, dy) => o.mul(dy, o.cast(o.equal(x, y), dy.dtype))),

  MatMul: matMul,
  Gemm: gemm,
  'com.microsoft:FusedMatMul': fusedMatMul,

  Softmax: rule(({ y, dy, node }) => {
    const scaled = o.mul(dy, y)
    return [o.sub(scaled, o.mul(y, o.reduceSum(scaled, [softmaxAxis(node)], true)))]
  }),
  LogSoftmax: rule(({ y, dy, node }) => [o.sub(dy, o.mul(o.exp(y), o.reduceSum(dy, [softmaxAxis(node)], true)))]),
  LayerNormalization: rule(({ x: [x, scale, bias], dy, node }) => {
    const axis = axisOf(intOf(node.proto, 'axis', -1), x.shape.length, node.proto.name)
    const axes = [...x.shape.keys()].slice(axis)
    const [, mean = o.reduceMean(x, axes, true), deviation] = node.outputs
    const centred = o.sub(x, mean)
    const variance = () =>
      o.add(o.reduceMean(o.mul(centred, centred), axes, true), floatOf(node.proto, 'epsilon', 1e-5))
    const inverse = deviation ?? o.reciprocal(o.sqrt(variance()))
    const normal = o.mul(centred, inverse)
    const g = o.mul(dy, scale)
    const inner = o.sub(
      o.sub(g, o.reduceMean(g, axes, true)),
      o.mul(normal, o.reduceMean(o.mul(g, normal), axes, true)),
    )
    return [o.mul(inverse, inner), unbroadcast(o.mul(dy, normal), scale), bias && unbroadcast(dy, bias)]
  }),
  SimplifiedLayerNormalization: rule(({ x: [x, scale], dy, node }) => {
    const axis = axisOf(intOf(node.proto, 'axis', -1), x.shape.length, node.proto.name)
    const axes = [...x.shape.keys()].slice(axis)
    const square = () => o.add(o.reduceMean(o.mul(x, x), axes, true), floatOf(node.proto, 'epsilon', 1e-5))
    const inverse = node.outputs[1] ?? o.reciprocal(o.sqrt(square()))
    const normal = o.mul(x, inverse)
    const g = o.mul(dy, scale)
    const inner = o.sub(g, o.mul(normal, o.reduceMean(o.mul(g, normal), axes, true)))
    return [o.mul(inverse, inner), unbroadcast(o.mul(dy, normal), scale)]
  }),

  ReduceSum: rule(({ dy, node }) => [spread(dy, node)]),
  ReduceMean: rule(({ x, dy, node }) => {
    const count = reducedAxes(node).map((axis) => o.dimension(x[0], axis))
    const size = o.squeeze(
      count.reduce((a, b) => o.mul(a, b)),
      [0],
    )
    return [spread(o.div(dy, o.cast(size, dy.dtype)), node)]
  }),
  ReduceSumSquare: rule(({ x, dy, node }) => [o.mul(o.mul(x[0], 2), restore(dy, node))]),
  ReduceMax: extremum,
  ReduceMin: extremum,

  Reshape: likeInput,
  Flatten: likeInput,
  Squeeze: likeInput,
  Unsqueeze: likeInput,
  Expand: rule(({ x, dy }) => [unbroadcast(dy, x[0])]),
  Transpose: rule(({ x, dy, node }) => {
    const perm = intsOf(node.proto, 'perm') ?? [...x[0].shape.keys()].reverse()
    return [
      o.transpose(
        dy,
        perm.map((_, i) => perm.indexOf(i)),
      ),
    ]
  }),
  Concat: rule(({ x, dy, node }) => {
    const axis = axisOf(intOf(node.proto, 'axis', 0), dy.shape.length, node.proto.name)
    const sizes = o.concat(
      x.map((value) => o.dimension(value, axis)),
      0,
    )
    return dy.graph.node('Split', [dy, sizes], { axis }, x.length)
  }),
  Split: (node, flows) => {
    const axis = axisOf(intOf(node.proto, 'axis', 0), node.inputs[0]!.shape.length, node.proto.name)
    return [
      o.concat(
        flows.map((flow, i) => flow ?? o.zerosLike(node.outputs[i])),
        axis,
      ),
    ]
  },
  Slice: rule(({ x, dy, node }) => {
    const [starts, ends, axes, steps] = node.inputs.slice(1).map((value) => value && numbers(value.tensor!))
    let result = dy
    starts!.forEach((start, i) => {
      const axis = axisOf(axes?.[i] ?? i, x[0].shape.length, node.proto.name)
      result = unslice(result, x[0], axis, start, ends![i], steps?.[i] ?? 1)
    })
    return [result]
  }),
  Gather: rule(({ x: [data, indices], dy, node }) => {
    const axis = axisOf(intOf(node.proto, 'axis', 0), data.shape.length, node.proto.name)
    const others = (keep: (i: number) => boolean) => [...data.shape.keys()].filter(keep)
    const sizes = (axes: number[]) => axes.map((i) => o.dimension(data, i))
    const count = o.ints(data, [-1])
    // one axis of all positions, and an index for each element: ScatterND would need only one a row, but onnxruntime adds
    // in parallel there and loses updates of rows that occur twice
    const shape = o.concat([...sizes(others((i) => i < axis)), count, ...sizes(others((i) => i > axis))], 0)
    const updates = indices.shape.length === 1 ? dy : o.reshape(dy, shape)
    const flat = indices.shape.length === 1 ? indices : o.reshape(indices, [-1])
    const rows =
      data.shape.length === 1
        ? flat
        : o.unsqueeze(
            flat,
            others((i) => i !== axis),
          )
    return [o.scatterElements(o.zerosLike(data), o.expand(rows, o.shapeValue(updates)), updates, axis, 'add')]
  }),
  GatherElements: rule(({ x: [data, indices], dy, node }) => [
    o.scatterElements(o.zerosLike(data), indices, dy, intOf(node.proto, 'axis', 0), 'add'),
  ]),
  ReverseSequence: rule(({ x: [, lengths], dy }) => [o.reverseSequence(dy, lengths)]),
  Where: rule(({ x: [condition, yes, no], dy }) => {
    const zero = o.scalarLike(dy, 0)
    return [undefined, unbroadcast(o.where(condition, dy, zero), yes), unbroadcast(o.where(condition, zero, dy), no)]
  }),
}

/** The gradient of a slice along one axis: zeros everywhere but at the taken positions. */
function unslice(dy: Value, like: Value, axis: number, start: number, end: number, step: number): Value {
  const size = o.squeeze(o.dimension(like, axis), [0])
  const scalar = (n: number) => o.constant(like, { dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(n)) })
  const every = o.range(scalar(0), size, scalar(1))
  const taken = o.unsqueeze(o.slice(every, [start], [end], [0], [step]), [1])
  const front = [axis, ...[...dy.shape.keys()].filter((i) => i !== axis)]
  const back = front.map((_, i) => front.indexOf(i))
  const moved = axis === 0 ? dy : o.transpose(dy, front)
  const rest = front.slice(1).map((i) => o.dimension(dy, i))
  const zeros = o.constantOfShape(o.concat([o.dimension(like, axis), ...rest], 0), 0, dy.dtype)
  const result = o.scatterND(zeros, taken, moved)
  return axis === 0 ? result : o.transpose(result, back)
}
