import { floatOf, intOf, intsOf, stringOf } from '../../graph/attributes.ts'
import { type DataType, float32 } from '../../graph/tensor.ts'
import { permuted } from '../keras/convolution.ts'
import type { TfGraph } from './graphdef.ts'
import type { Rule, Writing } from './writing.ts'

export const transposed = (g: TfGraph, x: string, type: DataType, perm: readonly number[]) =>
  g.add('Transpose', [x, g.ints(perm)], { T: { type }, Tperm: { type: 'int32' } })

/** Convolution over (batch, channels, time) or (batch, channels, height, width), by TensorFlow's over (batch, height, width, channels). */
export const conv: Rule = (w) => {
  const { g, node } = w
  const kernel = w.stored(1) ?? w.refuse('its weights are computed')
  const rank = kernel.dims.length - 2
  if (rank > 2 || intOf(node, 'group', 1) !== 1 || stringOf(node, 'auto_pad', 'NOTSET') !== 'NOTSET')
    w.refuse('its groups, rank or padding')
  const [strides, dilations] = ['strides', 'dilations'].map((name) => intsOf(node, name) ?? Array<number>(rank).fill(1))
  const pads = intsOf(node, 'pads') ?? Array<number>(2 * rank).fill(0)
  const two = (list: readonly number[], one: number) => (rank === 1 ? [one, ...list] : [...list])
  const spatial = Array.from({ length: rank }, (_, i) => i + 2)
  let x = transposed(g, w.inputs[0], 'float32', [0, ...spatial, 1])
  if (pads.some((by) => by > 0)) {
    const pairs = [[0, 0], ...spatial.map((_, i) => [pads[i], pads[i + rank]]), [0, 0]].flat()
    x = g.add('Pad', [x, g.ints(pairs, [rank + 2, 2])], { T: { type: 'float32' }, Tpaddings: { type: 'int32' } })
  }
  const axis = g.ints([1], [])
  if (rank === 1) x = g.add('ExpandDims', [x, axis], { T: { type: 'float32' }, Tdim: { type: 'int32' } })
  const turned = permuted(kernel, [...spatial, 1, 0]) // (…, channels, filters)
  const filter = g.constant(
    float32([...two(turned.dims.slice(0, rank), 1), ...turned.dims.slice(rank)], turned.data as Float32Array),
  )
  let y = g.add('Conv2D', [x, filter], {
    T: { type: 'float32' },
    strides: { ints: [1, ...two(strides, 1), 1] },
    dilations: { ints: [1, ...two(dilations, 1), 1] },
    padding: { text: 'VALID' },
    data_format: { text: 'NHWC' },
    use_cudnn_on_gpu: { flag: true },
    explicit_paddings: { ints: [] },
  })
  if (w.inputs[2]) y = g.add('AddV2', [y, w.inputs[2]], { T: { type: 'float32' } })
  if (rank === 1) y = g.add('Squeeze', [y], { T: { type: 'float32' }, squeeze_dims: { ints: [1] } })
  return transposed(g, y, 'float32', [0, rank + 1, ...spatial.map((i) => i - 1)])
}

/** Windows of a pooling over (batch, channels, height, width); refuses what TensorFlow's poolings have no word for. */
function pooled(w: Writing, op: 'MaxPool' | 'AvgPool', least: number): string {
  const { g, node } = w
  const kernel = intsOf(node, 'kernel_shape') ?? []
  const [strides, dilations] = ['strides', 'dilations'].map((name) => intsOf(node, name) ?? [1, 1])
  const pads = intsOf(node, 'pads') ?? [0, 0, 0, 0]
  if (kernel.length !== 2 || dilations.some((by) => by !== 1) || intOf(node, 'ceil_mode', 0) !== 0)
    w.refuse('its rank, dilations or rounding')
  if (stringOf(node, 'auto_pad', 'NOTSET') !== 'NOTSET') w.refuse('its padding')
  const padded = pads.some((by) => by > 0)
  if (padded && op === 'AvgPool') w.refuse('its padding')
  let x = transposed(g, w.inputs[0], 'float32', [0, 2, 3, 1])
  if (padded) {
    const pairs = g.ints([0, 0, pads[0], pads[2], pads[1], pads[3], 0, 0], [4, 2])
    const edge = g.constant(float32([], [least]))
    x = g.add('PadV2', [x, pairs, edge], { T: { type: 'float32' }, Tpaddings: { type: 'int32' } })
  }
  const y = g.add(op, [x], {
    T: { type: 'float32' },
    ksize: { ints: [1, ...kernel, 1] },
    strides: { ints: [1, ...strides, 1] },
    padding: { text: 'VALID' },
    data_format: { text: 'NHWC' },
    ...(op === 'MaxPool' && { explicit_paddings: { ints: [] } }),
  })
  return transposed(g, y, 'float32', [0, 3, 1, 2])
}

/** The smallest float32 pads, so that no edge is a maximum. */
export const maxPool: Rule = (w) =>
  w.node.output[1] ? w.refuse('its indices are used') : pooled(w, 'MaxPool', -3.4e38)
export const averagePool: Rule = (w) => pooled(w, 'AvgPool', 0)

export const globalAveragePool: Rule = (w) => {
  const over = w.shape(0).map((_, i) => i)
  return w.g.add('Mean', [w.inputs[0], w.g.ints(over.slice(2))], {
    T: { type: 'float32' },
    Tidx: { type: 'int32' },
    keep_dims: { flag: true },
  })
}

/** As a product and a sum a channel. */
export const batchNormalization: Rule = (w) => {
  const { g, node } = w
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((i) => w.stored(i) ?? w.refuse('its statistics are computed'))
  const epsilon = floatOf(node, 'epsilon', 1e-5)
  const count = scale.dims[0]
  const factors = Float32Array.from(
    { length: count },
    (_, i) => Number(scale.data[i]) / Math.sqrt(Number(variance.data[i]) + epsilon),
  )
  const offsets = Float32Array.from(
    { length: count },
    (_, i) => Number(bias.data[i]) - Number(mean.data[i]) * factors[i],
  )
  const dims = [
    count,
    ...w
      .shape(0)
      .slice(2)
      .map(() => 1),
  ]
  const attrs = { T: { type: 'float32' } } as const
  const scaled = g.add('Mul', [w.inputs[0], g.constant(float32(dims, factors))], attrs)
  return g.add('AddV2', [scaled, g.constant(float32(dims, offsets))], attrs)
}
