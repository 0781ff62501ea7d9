import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** (batch, time, heads · size) → (batch, heads, time, size). */
export const headsOf = (x: Value, heads: number, size: number): Value =>
  o.transpose(o.reshape(x, [0, 0, heads, size]), [0, 2, 1, 3])

/** (batch, heads, time, size) → (batch, time, heads · size). */
export const joined = (x: Value, width: number): Value => o.reshape(o.transpose(x, [0, 2, 1, 3]), [0, 0, width])

/** What is added to the scores of `attention` so that nothing hears what is not `valid`, bool (batch, time). */
export const silence = (network: Network, valid: Value): Value =>
  o.within(network.graph, () =>
    o.unsqueeze(o.mul(o.cast(o.not(valid), 'float32'), -1e30), network.training ? [0, 2] : [1, 2]),
  )

/**
 * Attention by heads of a size: queries, keys and values (batch, time, heads · size) → the same. In training heads come
 * before all else, so that products in blocks of columns give and take them as they lie (see `blockProducts`); what is
 * exported is in the order that onnxruntime fuses.
 */
export function attention(network: Network, parts: readonly Value[], bias: Value, heads: number, size: number): Value {
  const [into, back] = network.training
    ? [
        [2, 0, 1, 3],
        [1, 2, 0, 3],
      ]
    : [HEADS_SECOND, HEADS_SECOND]
  return o.within(network.graph, () => {
    const [query, key, value] = parts.map((part) => o.transpose(o.reshape(part, [0, 0, heads, size]), into))
    const context = o.transpose(attend(network, query, key, value, bias), back) // (batch, time, heads, size)
    return o.reshape(context, [0, 0, heads * size])
  })
}

const HEADS_SECOND = [0, 2, 1, 3]

/**
 * Scaled dot-product attention (Vaswani et al. 2017): queries (batch, heads, time, size), keys and values (batch, heads,
 * total, size), what is added to the scores → (batch, heads, time, size). Training takes the fused product, whose
 * gradient neither transposes nor scales; what is exported is of standard operators, which onnxruntime fuses.
 */
export function attend(network: Network, query: Value, key: Value, value: Value, bias: Value): Value {
  const scale = 1 / Math.sqrt(Number(query.shape[3]))
  return o.within(network.graph, () => {
    const scores = network.training
      ? o.fusedMatMul(query, key, { transB: true, alpha: scale })
      : o.matMul(o.mul(query, scale), o.transpose(key, [0, 1, 3, 2])) // (batch, heads, time, total)
    return o.matMul(o.softmax(o.add(scores, bias)), value)
  })
}
