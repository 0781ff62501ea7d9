import { fail } from '../base/errors.ts'
import { intsOf, stringOf } from '../graph/attributes.ts'
import type { Node, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { axisOf } from '../graph/shape.ts'
import { numbers } from '../graph/tensor.ts'
import { type Rule, rule } from './rule.ts'

const refuse = ({ proto }: Node, what: string, instead: string) =>
  fail('UNSUPPORTED', { what: `the gradient of ${proto.opType} "${proto.name}" ${what}`, instead })

/** Constant padding is cut off again; what mirrors or repeats the edge is added to where it came from. */
const pad: Rule = rule(({ x: [x, pads, , axes], dy, node }) => {
  const mode = stringOf(node.proto, 'mode', 'constant')
  const given = intsOf(node.proto, 'pads') ?? (pads?.tensor && numbers(pads.tensor))
  if (!given || (axes && !axes.tensor)) throw refuse(node, 'with pads computed in the graph', 'Make them constants.')
  const rank = x.shape.length
  const which = axes?.tensor
    ? numbers(axes.tensor).map((axis) => axisOf(axis, rank, node.proto.name))
    : [...x.shape.keys()]
  const all = Array<number>(2 * rank).fill(0)
  which.forEach((axis, i) => {
    all[axis] = given[i]
    all[axis + rank] = given[i + which.length]
  })
  if (mode === 'constant')
    return [
      o.pad(
        dy,
        all.map((amount) => -amount),
      ),
    ]
  const size = o.sizeOf(x)
  const positions = o.reshape(o.range(o.scalarLike(size, 0), size, o.scalarLike(size, 1)), o.shapeValue(x))
  const from = x.graph.node('Pad', [positions, o.ints(x, all)], { mode })[0]
  const zeros = o.constantOfShape(o.unsqueeze(size, [0]), 0, dy.dtype)
  return [o.reshape(o.scatterElements(zeros, o.reshape(from, [-1]), o.reshape(dy, [-1]), 0, 'add'), o.shapeValue(x))]
})

/** The copies of each element are summed. */
const tile: Rule = rule(({ x: [x, repeats], dy }) => {
  const parts = [...x.shape.keys()].flatMap((axis) => [o.slice(repeats, [axis], [axis + 1], [0]), o.dimension(x, axis)])
  return [
    o.reduceSum(
      o.reshape(dy, o.concat(parts, 0)),
      [...x.shape.keys()].map((axis) => 2 * axis),
    ),
  ]
})

/**
 * Resizing is linear along each axis: its matrix is what the operator itself makes of the identity, and the gradient
 * goes through the transposed matrices. Covers every mode that treats axes one by one.
 */
const resize: Rule = rule(({ x: [x], y, dy, node }) => {
  const rank = x.shape.length
  const [from, to] = [x.shape.slice(-2), y.shape.slice(-2)]
  const known = [...from, ...to].every((dim) => typeof dim === 'number')
  const outer = x.shape.slice(0, -2).every((dim, i) => dim === y.shape[i])
  if (
    rank < 3 ||
    !known ||
    !outer ||
    stringOf(node.proto, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize'
  )
    throw refuse(node, 'of other than two last axes of known sizes', 'Export the model with a fixed input size.')
  const [down, right] = [0, 1].map((i) => resizing(node, x, Number(from[i]), Number(to[i]), i))
  return [o.matMul(o.matMul(o.transpose(down, [1, 0]), dy), right)]
})

/** The matrix (to, from) of a resize along one axis, computed in the graph from constants alone. */
function resizing(node: Node, x: Value, from: number, to: number, axis: number): Value {
  const unit = new Float32Array(from * from)
  for (let i = 0; i < from; i++) unit[i * from + i] = 1
  const identity = o.constant(x, { dtype: 'float32', dims: [1, 1, from, from], data: unit })
  const attribute = node.proto.attribute.filter(({ name }) => name !== 'axes' && name !== 'keep_aspect_ratio_policy')
  const scales = node.inputs[2]?.tensor && numbers(node.inputs[2].tensor)
  const proto = { ...node.proto, attribute }
  const [made] = scales?.length
    ? x.graph.copy(proto, [
        identity,
        undefined,
        o.constant(x, { dtype: 'float32', dims: [4], data: Float32Array.of(1, 1, scales.at(axis - 2)!, 1) }),
      ])
    : x.graph.copy(proto, [identity, undefined, undefined, o.ints(x, [1, 1, to, from])])
  return o.reshape(made, [to, from])
}

/** Gradient of one operand: the other operands and dy under the subscripts turned round. */
const einsum: Rule = rule(({ x, dy, node }) => {
  const equation = stringOf(node.proto, 'equation', '').replaceAll(' ', '')
  const [left, right] = equation.split('->')
  const terms = left.split(',')
  const repeated = [...terms, right ?? ''].some((term) => new Set(term).size !== term.length)
  if (right === undefined || equation.includes('.') || repeated)
    throw refuse(
      node,
      `for the equation "${equation.slice(0, 80)}"`,
      'Write it without dots and repeated letters, with "->".',
    )
  return x.map((value, i) => {
    const others = terms.filter((_, j) => j !== i)
    const there = [...terms[i]].filter(
      (letter) => right.includes(letter) || others.some((term) => term.includes(letter)),
    )
    const turned = `${[right, ...others].join(',')}->${there.join('')}`
    const [part] = dy.graph.node('Einsum', [dy, ...x.filter((_, j) => j !== i)], { equation: turned })
    if (there.length === terms[i].length) return part
    // a letter that only this operand has was summed over
    const gone = [...terms[i]].flatMap((letter, axis) => (there.includes(letter) ? [] : [axis]))
    return o.expand(o.unsqueeze(part, gone), o.shapeValue(value))
  })
})

export const shapingRules: Record<string, Rule> = { Pad: pad, Tile: tile, Resize: resize, Einsum: einsum }
