import { fail } from '../base/errors.ts'
import { intOf, intsOf } from '../graph/attributes.ts'
import type { Node, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { type Geometry, geometryOf, inputGradient } from './convolution.ts'
import { type Rule, rule } from './rule.ts'

const spatial = (x: Value) => x.shape.map((_, i) => i).slice(2)

/** Maxima go back to where they came from: the first of equal ones, as in PyTorch. */
const maxPool: Rule = rule(({ x: [x], dy, node }) => {
  const at = whereMaxima(node)
  const zeros = o.constantOfShape(o.unsqueeze(o.sizeOf(x), [0]), 0, dy.dtype)
  const flat = o.scatterElements(zeros, o.reshape(at, [-1]), o.reshape(dy, [-1]), 0, 'add')
  return [o.reshape(flat, o.shapeValue(x))]
})

/** Positions of the maxima in the flattened input, from the node itself or by pooling once more. */
function whereMaxima({ proto, inputs, outputs }: Node): Value {
  if (outputs[1] && intOf(proto, 'storage_order', 0) === 0) return outputs[1]
  const x = inputs[0]!
  const attributes = proto.attribute.filter(({ name }) => name !== 'storage_order')
  return x.graph.copy({ ...proto, attribute: attributes }, [x], ['Pooled', 'Indices'])[1]
}

/** Each element of a window gets its share: the number of elements that were averaged may differ at the edges. */
const averagePool: Rule = rule(({ x: [x], dy, node }) => {
  const kernel = intsOf(node.proto, 'kernel_shape')!
  const at = geometryOf(node, x.shape, dy.shape, kernel)
  const whole = kernel.every((k, i) => at.strides[i] === k && at.begin[i] + at.end[i] === 0 && at.dilations[i] === 1)
  const count = kernel.reduce((a, b) => a * b, 1)
  const exact = kernel.every((k, i) => Number(x.shape[i + 2]) === Number(dy.shape[i + 2]) * k)
  if (whole && exact) return [repeated(o.mul(dy, 1 / count), kernel, x)]
  const extended = extendedBy(node, at, x, dy)
  const channels = Number(x.shape[1])
  const ones = o.constant(x, {
    dtype: 'float32',
    dims: [channels, 1, ...kernel],
    data: new Float32Array(channels * count).fill(1),
  })
  const share = o.div(dy, elementsIn(node, at, extended, x, dy))
  return [inputGradient(share, ones, x, { ...at, end: extended, group: channels })]
})

/** Every element repeated `times` along each spatial axis: (…, h, w) → (…, h · times, w · times). */
function repeated(x: Value, times: readonly number[], like: Value): Value {
  const sizes = [0, 1].map((i) => o.dimension(x, i))
  const apart = times.flatMap((_, i) => [o.dimension(x, i + 2), o.ints(x, [1])])
  const grown = times.flatMap((n, i) => [o.dimension(x, i + 2), o.ints(x, [n])])
  const wide = o.expand(o.reshape(x, o.concat([...sizes, ...apart], 0)), o.concat([...sizes, ...grown], 0))
  return o.reshape(wide, o.shapeValue(like))
}

/** Padding at the end, so that windows that begin inside but reach beyond the padding (`ceil_mode`) are whole. */
function extendedBy({ proto }: Node, at: Geometry, x: Value, dy: Value): number[] {
  if (intOf(proto, 'ceil_mode', 0) === 0) return [...at.end]
  return at.end.map((end, i) => {
    const [size, windows] = [x.shape[i + 2], dy.shape[i + 2]]
    if (typeof size !== 'number' || typeof windows !== 'number') {
      const what = `the gradient of AveragePool "${proto.name}" with ceil_mode over an axis of unknown size`
      throw fail('UNSUPPORTED', { what, instead: 'Export the model with a fixed input size.' })
    }
    const needed = (windows - 1) * at.strides[i] + at.dilations[i] * (at.kernel[i] - 1) + 1
    return Math.max(end, needed - size - at.begin[i])
  })
}

/** How many elements each window averaged: a number, or float32 (1, 1, …) where edges differ. */
function elementsIn({ proto }: Node, at: Geometry, extended: readonly number[], x: Value, dy: Value): Value {
  const { kernel, strides, dilations, begin, end } = at
  const padded = [...begin, ...extended].some((pad) => pad > 0)
  const counted = intOf(proto, 'count_include_pad', 0) === 1
  const over = extended.some((pad, i) => pad !== end[i])
  const count = kernel.reduce((a, b) => a * b, 1)
  if (!padded || (counted && !over)) return o.scalarLike(dy, count)
  // count ones where elements are: `count_include_pad` counts the padding, never what lies beyond it
  const shape = o.concat([o.ints(x, [1, 1]), ...spatial(x).map((i) => o.dimension(x, i))], 0)
  const there = o.constantOfShape(shape, 1, dy.dtype)
  const [inner, outer] = counted
    ? [
        { begin, end },
        { begin: begin.map(() => 0), end: extended.map((pad, i) => pad - end[i]) },
      ]
    : [
        { begin: begin.map(() => 0), end: end.map(() => 0) },
        { begin, end: extended },
      ]
  const framed = counted
    ? dy.graph.node('Pad', [there, o.ints(x, [0, 0, ...inner.begin, 0, 0, ...inner.end]), o.scalarLike(dy, 1)])[0]
    : there
  const ones = o.constant(x, { dtype: 'float32', dims: [1, 1, ...kernel], data: new Float32Array(count).fill(1) })
  const pads = [...outer.begin, ...outer.end]
  return dy.graph.node('Conv', [framed, ones], { strides, dilations, pads, kernel_shape: kernel })[0]
}

export const poolingRules: Record<string, Rule> = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: rule(({ x: [x], dy }) => {
    const size = spatial(x)
      .map((i) => o.dimension(x, i))
      .reduce((a, b) => o.mul(a, b))
    return [o.expand(o.div(dy, o.cast(o.squeeze(size, [0]), dy.dtype)), o.shapeValue(x))]
  }),
  // equal maxima share, as for ReduceMax
  GlobalMaxPool: rule(({ x: [x], y, dy }) => {
    const hit = o.cast(o.equal(x, y), dy.dtype)
    return [o.mul(o.div(hit, o.reduceSum(hit, spatial(x), true)), dy)]
  }),
}
