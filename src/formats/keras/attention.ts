import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import type { LayerRule } from './layers.ts'
import type { Masked, Place } from './place.ts'

/**
 * MultiHeadAttention(query, value, key) over (batch, time, width). Masks of its inputs and `attention_mask` close scores
 * with -3e38, as Keras does: a row of which nothing is open attends evenly.
 */
export const multiHeadAttention: LayerRule = (place, inputs, kwargs) => {
  place.only({ flash_attention: false, output_shape: null })
  const { attention_axes: axes } = place.config
  if (axes && String(axes) !== '1') place.refuse(`the setting attention_axes=${JSON.stringify(axes)}`)
  const query = inputs[0] ?? kwargs.query ?? place.invalid('no query')
  const value = inputs[1] ?? kwargs.value ?? place.invalid('no value')
  const key = inputs[2] ?? kwargs.key ?? value
  const heads = place.size('num_heads')
  const size = place.size('key_dim')
  const valueSize = place.config.value_dim ? place.size('value_dim') : size
  const useBias = place.flag('use_bias', true)
  const count = useBias ? 2 : 1
  const stored = (['query', 'key', 'value', 'output'] as const).map((part) => place.weights(`${part}_dense`, count))

  const project = ({ value: x }: Masked, [kernel, bias]: Tensor[], name: string, each: number) => {
    const width = place.known(x, -1)
    place.check(`${name} kernel`, kernel, [width, heads, each])
    const flat = place.graph.initializer(`${name}/kernel`, float32([width, heads * each], kernel.data as Float32Array))
    const product = place.biased(o.matMul(x, flat), flatBias(place, bias, name, heads, each))
    return o.transpose(o.reshape(product, [0, 0, heads, each]), [0, 2, 1, 3]) // (batch, heads, time, each)
  }
  const q = o.mul(project(query, stored[0], 'query', size), 1 / Math.sqrt(size))
  const k = project(key, stored[1], 'key', size)
  const v = project(value, stored[2], 'value', valueSize)
  const scores = o.matMul(q, o.transpose(k, [0, 1, 3, 2])) // (batch, heads, time, times)
  const open = openPairs(place, query, key, value, kwargs)
  const closed = open ? o.add(scores, o.mul(o.cast(o.not(open), 'float32'), -3e38)) : scores
  const heard = o.transpose(o.matMul(o.softmax(closed), v), [0, 2, 1, 3]) // (batch, time, heads, each)
  const flat = o.reshape(heard, [0, 0, heads * valueSize])

  const width = place.known(query.value, -1)
  const [kernel, bias] = stored[3]
  place.check('output kernel', kernel, [heads, valueSize, width])
  const out = place.graph.initializer('output/kernel', float32([heads * valueSize, width], kernel.data as Float32Array))
  const result = place.biased(o.matMul(flat, out), bias && place.stored('output/bias', bias, [width]))
  return { value: result, ...(query.mask && { mask: query.mask }) }
}

function flatBias(
  place: Place,
  bias: Tensor | undefined,
  name: string,
  heads: number,
  each: number,
): Value | undefined {
  if (!bias) return undefined
  place.check(`${name} bias`, bias, [heads, each])
  return place.graph.initializer(`${name}/bias`, float32([heads * each], bias.data as Float32Array))
}

/** Which query may hear which key: bool (batch, 1, time, times), undefined when all may. */
function openPairs(place: Place, query: Masked, key: Masked, value: Masked, kwargs: Readonly<Record<string, Masked>>) {
  const maskOf = (input: Masked, name: string) => kwargs[name]?.value ?? input.mask
  const [queryMask, valueMask] = [maskOf(query, 'query_mask'), maskOf(value, 'value_mask')]
  const keyMask = kwargs.key_mask?.value ?? (key === value ? undefined : key.mask)
  const parts: Value[] = []
  if (queryMask) parts.push(o.unsqueeze(queryMask, [1, 3])) // (batch, 1, time, 1)
  if (valueMask) parts.push(o.unsqueeze(valueMask, [1, 2])) // (batch, 1, 1, times)
  if (keyMask) parts.push(o.unsqueeze(keyMask, [1, 2]))
  const given = kwargs.attention_mask?.value
  if (given) {
    if (given.shape.length !== 3) place.refuse('an attention_mask that is not (batch, time, times)')
    parts.push(o.unsqueeze(o.cast(given, 'bool'), [1]))
  }
  return parts.length === 0 ? undefined : parts.reduce((a, b) => o.and(a, b))
}
