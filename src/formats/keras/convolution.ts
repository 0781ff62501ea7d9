import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import type { Masked, Place } from './place.ts'

/** (batch, …, channels) → (batch, channels, …), as ONNX wants it, and back. */
const channelsFirst = (x: Value) => o.transpose(x, [0, x.shape.length - 1, ...spatial(x)])
const channelsLast = (x: Value) => o.transpose(x, [0, ...x.shape.slice(2).map((_, i) => i + 2), 1])
const spatial = (x: Value) => x.shape.slice(1, -1).map((_, i) => i + 1)

/** The axes of a stored tensor in another order. */
export function permuted({ dims, data }: Tensor, order: readonly number[]): Tensor {
  const target = order.map((axis) => dims[axis])
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1))
  const result = new Float32Array(data.length)
  const index = Array<number>(dims.length).fill(0)
  for (let i = 0; i < result.length; i++) {
    let from = 0
    for (let a = 0; a < order.length; a++) from += index[a] * strides[order[a]]
    result[i] = Number(data[from])
    for (let a = order.length - 1; a >= 0 && ++index[a] === target[a]; a--) index[a] = 0
  }
  return float32(target, result)
}

function checkFormat(place: Place) {
  place.only({ data_format: 'channels_last' })
}

/** What `padding` means for windows: the pads before all and after all axes, or ONNX's own rule. */
function pads(
  place: Place,
  rank: number,
  windows: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
) {
  const kind = place.text('padding', 'valid')
  if (kind === 'valid') return {}
  if (kind === 'causal' && rank === 1) return { pads: [dilations[0] * (windows[0] - 1), 0] }
  if (kind !== 'same') return place.refuse(`the setting padding=${kind}`)
  // with a stride the amount depends on the size, as in TensorFlow
  if (strides.some((by) => by > 1)) return { auto_pad: 'SAME_UPPER' }
  const total = windows.map((size, i) => dilations[i] * (size - 1))
  return { pads: [...total.map((t) => Math.floor(t / 2)), ...total.map((t) => Math.ceil(t / 2))] }
}

/** Convolution over x (batch, …, channels); a depthwise one gives `depth_multiplier` filters for each channel. */
export function convolution(place: Place, x: Value, rank: 1 | 2, depthwise = false): Value {
  checkFormat(place)
  const channels = place.known(x, -1)
  const windows = place.sizes('kernel_size', rank)
  const [strides, dilations] = [place.sizes('strides', rank), place.sizes('dilation_rate', rank)]
  const groups = depthwise ? channels : place.number('groups', 1)
  const filters = depthwise ? channels * place.number('depth_multiplier', 1) : place.size('filters')
  const [kernel, bias] = place.weights('', place.flag('use_bias', true) ? 2 : 1)
  let weight: Tensor
  if (depthwise) {
    place.check('kernel', kernel, [...windows, channels, filters / channels])
    const moved = permuted(kernel, [rank, rank + 1, ...windows.map((_, i) => i)]) // (channels, multiplier, …)
    weight = float32([filters, 1, ...windows], moved.data as Float32Array)
  } else {
    place.check('kernel', kernel, [...windows, channels / groups, filters])
    weight = permuted(kernel, [rank + 1, rank, ...windows.map((_, i) => i)])
  }
  const inputs = [channelsFirst(x), place.graph.initializer('kernel', weight)]
  if (bias) inputs.push(place.stored('bias', bias, [filters]))
  const attributes = { strides, dilations, group: groups, ...pads(place, rank, windows, strides, dilations) }
  return place.activation(channelsLast(place.graph.node('Conv', inputs, attributes)[0]))
}

export function pooling(place: Place, x: Value, rank: 1 | 2, op: 'MaxPool' | 'AveragePool'): Value {
  checkFormat(place)
  const windows = place.sizes('pool_size', rank, 2)
  const strides =
    place.config.strides === null || place.config.strides === undefined ? windows : place.sizes('strides', rank)
  const kind = place.text('padding', 'valid')
  if (kind !== 'valid' && kind !== 'same') place.refuse(`the setting padding=${kind}`)
  const auto = kind === 'same' ? { auto_pad: 'SAME_UPPER' } : {}
  const [pooled] = place.graph.node(op, [channelsFirst(x)], { kernel_shape: windows, strides, ...auto })
  return channelsLast(pooled)
}

/** One vector from all steps or places; the mean of sequences counts valid steps alone, where a mask says which. */
export function globalPool(place: Place, { value: x, mask }: Masked, rank: 1 | 2, kind: 'max' | 'mean'): Masked {
  checkFormat(place)
  const [axes, keep] = [spatial(x), place.flag('keepdims')]
  if (axes.length !== rank) place.invalid(`an input of rank ${x.shape.length}`)
  if (kind === 'max') return { value: o.reduceMax(x, axes, keep) }
  if (!mask || rank !== 1) return { value: o.reduceMean(x, axes, keep) }
  const weight = o.unsqueeze(o.cast(mask, x.dtype), [2]) // (batch, time, 1)
  const total = o.reduceSum(o.mul(x, weight), axes, keep)
  return { value: o.div(total, o.reduceSum(weight, axes, keep)) }
}

export function padding(place: Place, x: Value, rank: 1 | 2): Value {
  checkFormat(place)
  const { padding: given } = place.config
  const pair = (value: unknown): [number, number] => {
    const list = Array.isArray(value) ? value : [value, value]
    if (list.length !== 2 || !list.every((n) => Number.isInteger(n) && n >= 0 && n < 2 ** 20))
      return place.invalid('padding')
    return [list[0], list[1]]
  }
  const by = rank === 1 ? [pair(given)] : Array.isArray(given) ? given.map(pair) : [pair(given), pair(given)]
  if (by.length !== rank) place.invalid('padding')
  // zeros joined on: onnxruntime 1.30 merges a Pad into the pooling after it, even where pooling cannot have such pads
  return by.reduce((padded, [before, after], i) => {
    const zeros = (size: number): Value[] => {
      if (size === 0) return []
      const dims = padded.shape.map((_, axis) => (axis === i + 1 ? o.ints(padded, [size]) : o.dimension(padded, axis)))
      return [o.constantOfShape(o.concat(dims, 0), 0, padded.dtype)]
    }
    return o.concat([...zeros(before), padded, ...zeros(after)], i + 1)
  }, x)
}
