import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import type { DataType } from '../../graph/tensor.ts'
import { multiHeadAttention } from './attention.ts'
import { isObject } from './config.ts'
import { convolution, globalPool, padding, pooling } from './convolution.ts'
import type { Masked, Place } from './place.ts'
import { bidirectional, recurrent } from './recurrent.ts'

/** What a call of a layer gives: inputs are the tensors of its first argument, `kwargs` those given by name. */
export type LayerRule = (place: Place, inputs: readonly Masked[], kwargs: Readonly<Record<string, Masked>>) => Masked

/** Layers that change values but not which steps are valid. */
const mapped =
  (map: (place: Place, x: Value) => Value): LayerRule =>
  (place, inputs) => {
    const { value, mask } = place.one(inputs)
    return { value: map(place, value), ...(mask && { mask }) }
  }
/** Layers that Keras lets forget the mask. */
const unmasked =
  (map: (place: Place, x: Value) => Value): LayerRule =>
  (place, inputs) => ({ value: map(place, place.one(inputs).value) })

const same = mapped((_, x) => x)

const embedding: LayerRule = (place, inputs) => {
  const { value } = place.one(inputs)
  const [rows, width] = [place.size('input_dim'), place.size('output_dim')]
  const [weights] = place.weights('', 1)
  const table = place.stored('embeddings', weights, [rows, width])
  const ids = o.cast(value, 'int64')
  const mask = place.flag('mask_zero') ? o.not(o.equal(ids, 0)) : undefined
  return { value: o.gather(table, ids), ...(mask && { mask }) }
}

function denseOf(place: Place, x: Value): Value {
  const units = place.size('units')
  const [kernel, bias] = place.weights('', place.flag('use_bias', true) ? 2 : 1)
  const product = o.matMul(x, place.stored('kernel', kernel, [place.known(x, -1), units]))
  return place.activation(place.biased(product, bias && place.stored('bias', bias, [units])))
}

/** A shape with the batch before it; at most one size is left to be inferred. */
function reshaped(place: Place, x: Value): Value {
  const target = place.config.target_shape
  if (!Array.isArray(target) || !target.every((dim) => Number.isInteger(dim))) return place.invalid('no target_shape')
  return o.reshape(x, [0, ...(target as number[])])
}

function flattened(place: Place, x: Value): Value {
  place.only({ data_format: 'channels_last' })
  return x.shape.length === 1 ? o.unsqueeze(x, [1]) : x.shape.length === 2 ? x : o.reshape(x, [0, flatSize(x)])
}
const flatSize = (x: Value) => {
  const dims = x.shape.slice(1)
  return dims.every((dim) => typeof dim === 'number') ? dims.reduce<number>((a, b) => a * Number(b), 1) : -1
}

const masking: LayerRule = (place, inputs) => {
  const { value } = place.one(inputs)
  const differs = o.not(o.equal(value, place.number('mask_value', 0)))
  const any = o.greater(o.reduceSum(o.cast(differs, 'float32'), [-1], true), 0.5) // (batch, time, 1)
  return { value: o.mul(value, o.cast(any, value.dtype)), mask: o.squeeze(any, [-1]) }
}

function batchNormalization(place: Place, x: Value): Value {
  const rank = x.shape.length
  const axis = Array.isArray(place.config.axis) ? Number(place.config.axis[0]) : place.number('axis', -1)
  if (axis !== -1 && axis !== rank - 1) place.refuse(`the setting axis=${axis}`)
  const width = place.known(x, -1)
  const [scale, center] = [place.flag('scale', true), place.flag('center', true)]
  const stored = place.weights('', 2 + Number(scale) + Number(center))
  const next = (name: string) => place.stored(name, stored.shift()!, [width])
  const gamma = scale ? next('gamma') : undefined
  const beta = center ? next('beta') : undefined
  const [mean, variance] = [next('moving_mean'), next('moving_variance')]
  const deviation = o.sqrt(o.add(variance, place.number('epsilon', 1e-3)))
  const normal = o.div(o.sub(x, mean), deviation)
  return place.biased(gamma ? o.mul(normal, gamma) : normal, beta)
}

function layerNormalization(place: Place, x: Value): Value {
  place.only({ rms_scaling: false })
  const rank = x.shape.length
  const axis = Array.isArray(place.config.axis) ? Number(place.config.axis[0]) : place.number('axis', -1)
  if ((axis !== -1 && axis !== rank - 1) || (Array.isArray(place.config.axis) && place.config.axis.length > 1))
    place.refuse(`the setting axis=${JSON.stringify(place.config.axis)}`)
  const width = place.known(x, -1)
  const [scale, center] = [place.flag('scale', true), place.flag('center', true)]
  const stored = place.weights('', Number(scale) + Number(center))
  const gamma = scale ? place.stored('gamma', stored.shift()!, [width]) : undefined
  const beta = center ? place.stored('beta', stored.shift()!, [width]) : undefined
  const centred = o.sub(x, o.reduceMean(x, [-1], true))
  const variance = o.reduceMean(o.mul(centred, centred), [-1], true)
  const normal = o.div(centred, o.sqrt(o.add(variance, place.number('epsilon', 1e-3))))
  return place.biased(gamma ? o.mul(normal, gamma) : normal, beta)
}

/** Values of several inputs in one; a step is valid where any says so, if all have a mask. */
const merged =
  (merge: (values: readonly Value[], place: Place) => Value): LayerRule =>
  (place, inputs) => {
    if (inputs.length < 2) place.invalid('fewer than two inputs')
    const masks = inputs.map(({ mask }) => mask)
    const mask = masks.every((one) => one) ? (masks as Value[]).reduce((a, b) => o.or(a, b)) : undefined
    return {
      value: merge(
        inputs.map(({ value }) => value),
        place,
      ),
      ...(mask && { mask }),
    }
  }
const folded = (op: (a: Value, b: Value) => Value) => merged((values) => values.reduce(op))

const concatenate: LayerRule = (place, inputs) => {
  const rank = inputs[0].value.shape.length
  const given = place.number('axis', -1)
  const axis = given < 0 ? given + rank : given
  const value = o.concat(
    inputs.map((input) => input.value),
    axis,
  )
  if (!inputs.some(({ mask }) => mask)) return { value }
  if (axis === 0) place.refuse('the setting axis=0')
  // inputs without a mask are valid throughout
  const filled = inputs.map(({ value: x, mask }) => {
    if (mask) return mask
    const shape = o.concat([o.dimension(x, 0), o.dimension(x, 1)], 0)
    return o.cast(o.constantOfShape(shape, 1, 'int64'), 'bool')
  })
  return { value, mask: axis === 1 ? o.concat(filled, 1) : filled.reduce((a, b) => o.and(a, b)) }
}

const dot: LayerRule = (place, inputs) => {
  if (inputs.length !== 2) place.invalid('not two inputs')
  place.only({ normalize: false })
  const [a, b] = inputs.map(({ value }) => value)
  const { axes } = place.config
  const pair = Array.isArray(axes) ? axes.map(Number) : [Number(axes), Number(axes)]
  if (a.shape.length !== 3 || b.shape.length !== 3) place.refuse('inputs that are not (batch, time, width)')
  // the contracted axis last in a, second in b
  const left = pair[0] % 3 === 1 ? o.transpose(a, [0, 2, 1]) : a
  const right = pair[1] % 3 === 1 ? b : o.transpose(b, [0, 2, 1])
  return { value: o.matMul(left, right) }
}

const timeDistributed: LayerRule = (place, inputs) => {
  const inner = place.inner('layer', 'layer')
  const { value, mask } = place.one(inputs)
  const pointwise: Record<string, (place: Place, x: Value) => Value> = {
    Dense: denseOf,
    Activation: (p, x) => p.activation(x),
    Dropout: (_, x) => x,
    LayerNormalization: layerNormalization,
  }
  const map = Object.hasOwn(pointwise, inner.className) ? pointwise[inner.className] : undefined
  if (!map) return place.refuse(`the wrapped layer ${inner.className}`)
  return { value: map(inner, value), ...(mask && { mask }) }
}

/** Operations that Keras 3 records where masks are made and joined: `ids != 0`, `a | b`. */
const notEqual: LayerRule = (place, [{ value }, { constant }]) => {
  if (constant === undefined) return place.refuse('a comparison of two tensors')
  return { value: o.not(o.equal(value, constant)) }
}

const filled = (place: Place, x: Value, value: number) =>
  o.cast(o.constantOfShape(o.shapeValue(x), value, 'int64'), dtypeOf(place.config, x.dtype))
const booleans = (reduce: typeof o.reduceMax): LayerRule =>
  unmasked((place, x) => {
    const { axis } = place.config
    const axes = axis === null || axis === undefined ? x.shape.map((_, i) => i) : [axis].flat().map(Number)
    return o.cast(reduce(o.cast(x, 'int32'), axes, place.flag('keepdims')), 'bool')
  })

/** Every layer that is read. A layer not here is refused by name; nothing in a file is ever run. */
export const layers: Record<string, LayerRule> = {
  Embedding: embedding,
  Dense: mapped(denseOf),
  Activation: mapped((place, x) => place.activation(x)),
  ReLU: mapped((place, x) => {
    place.only({ threshold: 0 })
    const slope = place.number('negative_slope', 0)
    if (slope !== 0) place.refuse('the setting negative_slope')
    const most = place.config.max_value
    return typeof most === 'number' ? o.clip(x, 0, most) : o.relu(x)
  }),
  LeakyReLU: mapped((place, x) => {
    const alpha = { float: place.number('negative_slope', place.number('alpha', 0.3)) }
    return x.graph.node('LeakyRelu', [x], { alpha })[0]
  }),
  ELU: mapped((place, x) => x.graph.node('Elu', [x], { alpha: { float: place.number('alpha', 1) } })[0]),
  Softmax: (place, inputs) => {
    const { value, mask } = place.one(inputs)
    if (mask) place.refuse('a mask')
    return { value: o.softmax(value, place.number('axis', -1)) }
  },
  Dropout: same,
  SpatialDropout1D: same,
  SpatialDropout2D: same,
  GaussianDropout: same,
  GaussianNoise: same,
  AlphaDropout: same,
  ActivityRegularization: same,
  Flatten: unmasked(flattened),
  Reshape: unmasked(reshaped),
  Permute: unmasked((place, x) => o.transpose(x, [0, ...place.sizes('dims', x.shape.length - 1)])),
  RepeatVector: unmasked((place, x) => o.tile(o.unsqueeze(x, [1]), [1, place.size('n'), 1])),
  Rescaling: mapped((place, x) =>
    o.add(o.mul(o.cast(x, 'float32'), place.number('scale', 1)), place.number('offset', 0)),
  ),
  Masking: masking,
  Conv1D: unmasked((place, x) => convolution(place, x, 1)),
  Conv2D: unmasked((place, x) => convolution(place, x, 2)),
  DepthwiseConv2D: unmasked((place, x) => convolution(place, x, 2, true)),
  MaxPooling1D: unmasked((place, x) => pooling(place, x, 1, 'MaxPool')),
  MaxPooling2D: unmasked((place, x) => pooling(place, x, 2, 'MaxPool')),
  AveragePooling1D: unmasked((place, x) => pooling(place, x, 1, 'AveragePool')),
  AveragePooling2D: unmasked((place, x) => pooling(place, x, 2, 'AveragePool')),
  GlobalMaxPooling1D: (place, inputs) => globalPool(place, place.one(inputs), 1, 'max'),
  GlobalMaxPooling2D: (place, inputs) => globalPool(place, place.one(inputs), 2, 'max'),
  GlobalAveragePooling1D: (place, inputs) => globalPool(place, place.one(inputs), 1, 'mean'),
  GlobalAveragePooling2D: (place, inputs) => globalPool(place, place.one(inputs), 2, 'mean'),
  ZeroPadding1D: unmasked((place, x) => padding(place, x, 1)),
  ZeroPadding2D: unmasked((place, x) => padding(place, x, 2)),
  BatchNormalization: mapped(batchNormalization),
  LayerNormalization: mapped(layerNormalization),
  Add: folded(o.add),
  Subtract: folded(o.sub),
  Multiply: folded(o.mul),
  Maximum: folded(o.max),
  Minimum: folded(o.min),
  Average: merged((values) =>
    o.div(
      values.reduce((a, b) => o.add(a, b)),
      values.length,
    ),
  ),
  Concatenate: concatenate,
  Dot: dot,
  SimpleRNN: (place, inputs) => recurrent(place, place.one(inputs)),
  LSTM: (place, inputs) => recurrent(place, place.one(inputs)),
  GRU: (place, inputs) => recurrent(place, place.one(inputs)),
  Bidirectional: (place, inputs) => bidirectional(place, place.one(inputs)),
  TimeDistributed: timeDistributed,
  MultiHeadAttention: multiHeadAttention,
  NotEqual: notEqual,
  LogicalOr: (_, [a, b]) => ({ value: o.or(a.value, b.value) }),
  ExpandDims: unmasked((place, x) => o.unsqueeze(x, [place.config.axis].flat().map(Number))),
  OnesLike: unmasked((place, x) => filled(place, x, 1)),
  ZerosLike: unmasked((place, x) => filled(place, x, 0)),
  Any: booleans(o.reduceMax),
  All: booleans(o.reduceMin),
  LogicalAnd: (_, [a, b]) => ({ value: o.and(a.value, b.value) }),
}

/** The element type of a layer's input or computation; Keras 3 describes it as a policy. */
export function dtypeOf(config: Record<string, unknown>, absent: string): DataType {
  const { dtype } = config
  const name = isObject(dtype) && isObject(dtype.config) ? dtype.config.name : (dtype ?? absent)
  return String(name) as DataType
}
