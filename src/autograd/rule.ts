import type { Node, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** From a node and the gradients of its outputs, the gradients of its inputs (undefined where none flows). */
export type Rule = (node: Node, outputGradients: readonly (Value | undefined)[]) => (Value | undefined)[]

/** A rule for nodes of one output: x are the inputs, y the output, dy its gradient. */
export const rule =
  (derive: (context: { x: readonly Value[]; y: Value; dy: Value; node: Node }) => (Value | undefined)[]): Rule =>
  (node, [dy]) =>
    dy ? derive({ x: node.inputs as readonly Value[], y: node.outputs[0], dy, node }) : []

export const elementwise = (derivative: (x: Value, y: Value, dy: Value) => Value): Rule =>
  rule(({ x, y, dy }) => [derivative(x[0], y, dy)])

/** Sums a gradient over the axes along which its operand was broadcast. Unequal symbols are taken to be equal sizes. */
export function unbroadcast(gradient: Value, like: Value): Value {
  const extra = gradient.shape.length - like.shape.length
  const leading = Array.from({ length: extra }, (_, i) => i)
  const stretched = like.shape.flatMap((dim, i) => (dim === 1 && gradient.shape[i + extra] !== 1 ? [i + extra] : []))
  let result = gradient
  if (stretched.length > 0) result = o.reduceSum(result, stretched, true)
  if (leading.length > 0) result = o.reduceSum(result, leading)
  return result
}

/** α·A·B with either side transposed, by the fused kernel where it exists (float32). */
export function product(a: Value, b: Value, transA: boolean, transB: boolean, alpha = 1): Value {
  if (a.dtype === 'float32') return o.fusedMatMul(a, b, { transA, transB, alpha })
  const swap = (x: Value) =>
    o.transpose(x, [...x.shape.keys()].slice(0, -2).concat(x.shape.length - 1, x.shape.length - 2))
  const plain = o.matMul(transA ? swap(a) : a, transB ? swap(b) : b)
  return alpha === 1 ? plain : o.mul(plain, alpha)
}

/** All rows of a tensor as one matrix: (…, n) → (rows, n). */
export const rows = (x: Value) => (x.shape.length === 2 ? x : o.reshape(x, [-1, Number(x.shape.at(-1))]))
