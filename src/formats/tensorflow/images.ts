import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { permuted } from '../keras/convolution.ts'
import type { Reading } from './readers.ts'

/** (batch, height, width, channels) → (batch, channels, height, width), as ONNX wants it, and back. */
const channelsFirst = (x: Value) => o.transpose(x, [0, 3, 1, 2])
const channelsLast = (x: Value) => o.transpose(x, [0, 2, 3, 1])

/** Attributes of windows over height and width; images must have their channels last. */
function windows(r: Reading) {
  if (r.text('data_format', 'NHWC') !== 'NHWC') r.refuse('its channels come first')
  const middle = (name: string, absent: number[]) => {
    const list = r.list(name)
    if (list.length > 0 && (list.length !== 4 || list[0] !== 1 || list[3] !== 1)) r.refuse(`its ${name}`)
    return list.length > 0 ? list.slice(1, 3) : absent
  }
  const padding = r.text('padding', 'VALID')
  const explicit = r.list('explicit_paddings')
  if (padding === 'EXPLICIT' && explicit.length !== 8) r.invalid('its paddings')
  const [top, bottom, left, right] = explicit.slice(2, 6)
  return {
    strides: middle('strides', [1, 1]),
    dilations: middle('dilations', [1, 1]),
    kernel: middle('ksize', [1, 1]),
    pads:
      padding === 'SAME'
        ? { auto_pad: 'SAME_UPPER' }
        : padding === 'EXPLICIT'
          ? { pads: [top, left, bottom, right] }
          : {},
  }
}

/** A filter in another order of axes: stored so if it is stored, turned by the graph otherwise. */
const turned = (r: Reading, filter: Value, order: readonly number[]): Value =>
  filter.tensor
    ? r.graph.initializer(`${filter.name}/turned`, permuted(filter.tensor, order))
    : o.transpose(filter, order)

export const convolution = (r: Reading): Value => {
  const { strides, dilations, pads } = windows(r)
  const [x, filter] = [r.input(0), r.input(1)]
  const [channels, taken] = [x.shape[3], filter.shape[2]]
  const group = typeof channels === 'number' && typeof taken === 'number' ? channels / taken : 1
  const weight = turned(r, filter, [3, 2, 0, 1])
  const [y] = r.graph.node('Conv', [channelsFirst(x), weight], { strides, dilations, group, ...pads })
  return channelsLast(y)
}

/** Filters of (height, width, channels, multiplier): as many for each channel. */
export const depthwise = (r: Reading): Value => {
  const { strides, dilations, pads } = windows(r)
  const [x, filter] = [r.input(0), r.input(1)]
  const [height, width, channels, multiplier] = filter.shape
  if (
    typeof channels !== 'number' ||
    typeof multiplier !== 'number' ||
    typeof height !== 'number' ||
    typeof width !== 'number'
  )
    return r.refuse('the shape of its filter is not known')
  const weight = o.reshape(turned(r, filter, [2, 3, 0, 1]), [channels * multiplier, 1, height, width])
  const [y] = r.graph.node('Conv', [channelsFirst(x), weight], { strides, dilations, group: channels, ...pads })
  return channelsLast(y)
}

const pool = (op: 'MaxPool' | 'AveragePool') => (r: Reading) => {
  const { strides, kernel, pads } = windows(r)
  return channelsLast(r.graph.node(op, [channelsFirst(r.input(0))], { kernel_shape: kernel, strides, ...pads })[0])
}
export const maxPool = pool('MaxPool')
export const averagePool = pool('AveragePool')

export const batchNormalization = (r: Reading): Value => {
  const [x, scale, offset, mean, variance] = [0, 1, 2, 3, 4].map((i) => r.input(i))
  if (r.flag('is_training', true)) r.refuse('it is set to train')
  if (r.text('data_format', 'NHWC') !== 'NHWC') r.refuse('its channels come first')
  const factor = o.div(scale, o.sqrt(o.add(variance, r.float('epsilon', 1e-4))))
  return o.add(o.mul(o.sub(x, mean), factor), offset)
}

/** A product or convolution with what TensorFlow.js' converter merged into it: a bias, an activation. */
export const fused =
  (rule: (r: Reading) => Value | Value[]) =>
  (r: Reading): Value => {
    const activations: Record<string, (x: Value) => Value> = {
      Relu: o.relu,
      Relu6: (x) => o.clip(x, 0, 6),
      Sigmoid: o.sigmoid,
      Tanh: o.tanh,
      Elu: (x) => r.graph.node('Elu', [x])[0],
      LeakyRelu: (x) => r.graph.node('LeakyRelu', [x], { alpha: r.float('leakyrelu_alpha', 0.2) })[0],
      Prelu: (x) => r.graph.node('PRelu', [x, r.input(3)])[0],
      BiasAdd: (x) => o.add(x, r.input(2)),
    }
    return r
      .texts('fused_ops')
      .reduce(
        (x, name) =>
          Object.hasOwn(activations, name) ? activations[name](x) : r.refuse(`it is merged with ${name.slice(0, 40)}`),
        [rule(r)].flat()[0],
      )
  }
