import { fail } from '../../base/errors.ts'
import { floatOf, intOf, intsOf, stringOf } from '../../graph/attributes.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { dataTypes } from '../../graph/tensor.ts'
import { drop, type Rule, rewrite, type Site, sweep } from './rewrite.ts'

/** The oldest operator set that models are converted down to, and the newest that is understood. */
const opsets = { oldest: 13, newest: 23 } as const
/** The file format version that came with each operator set, from 13 on. */
const irVersions = [7, 7, 8, 8, 8, 8, 9, 9, 10, 10, 11]

/** Only more element types were allowed: floats, integers and booleans were there before. */
const types: Rule = () => 'keep'
const without =
  (...attributes: [name: string, neutral: number][]): Rule =>
  ({ node, refuse }) => {
    for (const [name, neutral] of attributes) {
      if (intOf(node, name, neutral) !== neutral) refuse(`the attribute ${name} has no older form`)
    }
    drop(node, ...attributes.map(([name]) => name))
    return 'keep'
  }
const refused =
  (why: string): Rule =>
  ({ refuse }) =>
    refuse(why)
const absent = refused('it has no older form')

/** Axes as an attribute instead of an input. */
const axesAttribute: Rule = (site) => {
  const { node } = site
  const axes = node.input[1]
  if (axes) {
    const values = site.ints(axes)
    node.input.splice(1)
    if (values.length > 0) return keepWith(site, { axes: values })
  }
  if (intOf(node, 'noop_with_empty_axes', 0) === 1) {
    site.add('Identity', [node.input[0]], {}, [node.output[0]])
    return undefined
  }
  drop(node, 'noop_with_empty_axes')
  return 'keep'
}
function keepWith(site: Site, attributes: { axes: number[] }): undefined {
  const { node } = site
  const keepdims = intOf(node, 'keepdims', 1)
  site.add(node.opType, node.input, { ...attributes, keepdims }, node.output)
}

const shape: Rule = (site) => {
  const { node } = site
  const [start, end] = [intOf(node, 'start', 0), intOf(node, 'end', 2 ** 31 - 1)]
  drop(node, 'start', 'end')
  if (start === 0 && end === 2 ** 31 - 1) return 'keep'
  const all = site.add('Shape', node.input)
  const at = (value: number) => site.constant('int64', [1], [value])
  site.add('Slice', [all, at(start), at(end), at(0)], {}, [node.output[0]])
}

const layerNormalization: Rule = (site) => {
  const { node } = site
  if (site.used(1) || site.used(2)) site.refuse('its statistics are used')
  const rank = site.shapeOf(node.input[0])?.length
  const axis = intOf(node, 'axis', -1)
  if (axis >= 0 && rank === undefined) site.refuse('the rank of its input is not known')
  const first = axis < 0 ? axis : axis - rank!
  const axes = Array.from({ length: -first }, (_, i) => first + i)
  const dtype = site.typeOf(node.input[0]) ?? 'float32'
  const scalar = (value: number) => site.constant(dtype, [], [value])
  const mean = site.add('ReduceMean', [node.input[0]], { axes, keepdims: 1 })
  const centred = site.add('Sub', [node.input[0], mean])
  const variance = site.add('ReduceMean', [site.add('Mul', [centred, centred])], { axes, keepdims: 1 })
  const deviation = site.add('Sqrt', [site.add('Add', [variance, scalar(floatOf(node, 'epsilon', 1e-5))])])
  const normal = site.add('Div', [centred, deviation])
  const bias = node.input[2]
  const scaled = site.add('Mul', [normal, node.input[1]], {}, bias ? undefined : [node.output[0]])
  if (bias) site.add('Add', [scaled, bias], {}, [node.output[0]])
}

/** x · Φ(x), by the error function or Hendrycks & Gimpel's tanh (2016). */
export const gelu =
  (approximate: (site: Site) => boolean, bias: (site: Site) => string | undefined = () => undefined): Rule =>
  (site) => {
    const { node } = site
    const dtype = site.typeOf(node.input[0]) ?? 'float32'
    const scalar = (value: number) => site.constant(dtype, [], [value])
    const added = bias(site)
    const x = added ? site.add('Add', [node.input[0], added]) : node.input[0]
    let inner: string
    if (approximate(site)) {
      const cube = site.add('Mul', [site.add('Mul', [x, x]), x])
      const sum = site.add('Add', [x, site.add('Mul', [cube, scalar(0.044715)])])
      inner = site.add('Tanh', [site.add('Mul', [sum, scalar(Math.sqrt(2 / Math.PI))])])
    } else inner = site.add('Erf', [site.add('Mul', [x, scalar(Math.SQRT1_2)])])
    const half = site.add('Mul', [x, scalar(0.5)])
    site.add('Mul', [half, site.add('Add', [inner, scalar(1)])], {}, [node.output[0]])
  }

const split: Rule = (site) => {
  const { node } = site
  const parts = intOf(node, 'num_outputs', 0)
  drop(node, 'num_outputs')
  if (parts === 0 || node.input[1]) return 'keep'
  const dims = site.shapeOf(node.input[0])
  const axis = intOf(node, 'axis', 0)
  const size = dims?.at(axis)
  if (typeof size !== 'number') return site.refuse('the size that it splits is not known')
  const part = Math.ceil(size / parts)
  const sizes = Array.from({ length: parts }, (_, i) => Math.min(part, size - part * i))
  site.add('Split', [node.input[0], site.constant('int64', [parts], sizes)], { axis }, node.output)
}

const pad: Rule = ({ node, refuse }) => {
  if (node.input[3]) refuse('its axes have no older form')
  if (stringOf(node, 'mode', 'constant') === 'wrap') refuse('the mode "wrap" has no older form')
  return 'keep'
}

const castLike: Rule = (site) => {
  const to = site.typeOf(site.node.input[1])
  if (!to) return site.refuse('the type that it casts to is not known')
  site.add('Cast', [site.node.input[0]], { to: dataTypes[to].onnx }, site.node.output)
}

const scatter: Rule = ({ node, refuse }) => {
  if (stringOf(node, 'reduction', 'none') !== 'none') refuse('its reduction has no older form')
  drop(node, 'reduction')
  return 'keep'
}

const averagePool: Rule = ({ node, refuse }) => {
  if (intsOf(node, 'dilations')?.some((by) => by !== 1)) refuse('its dilations have no older form')
  drop(node, 'dilations')
  return 'keep'
}

const hardSwish: Rule = (site) => {
  const gate = site.add('HardSigmoid', site.node.input, { alpha: { float: 1 / 6 }, beta: 0.5 })
  site.add('Mul', [site.node.input[0], gate], {}, site.node.output)
}
const mish: Rule = (site) => {
  const gate = site.add('Tanh', [site.add('Softplus', site.node.input)])
  site.add('Mul', [site.node.input[0], gate], {}, site.node.output)
}

const quantize = without(['block_size', 0], ['output_dtype', 0])
const quantize19: Rule = ({ node }) => {
  drop(node, 'saturate')
  return 'keep'
}

type Changes = Record<string, Record<number, Rule>>
const each = (names: string, versions: Record<number, Rule>): Changes =>
  Object.fromEntries(names.split(' ').map((name) => [name, versions]))

/**
 * What changed in ai.onnx between the oldest and the newest operator set (from the operators' changelog): for each
 * operator, the sets that changed it and how to go back below them. An operator not here did not change.
 */
const changes: Changes = {
  ...each(
    'Acos Acosh Asin Asinh Atan Atanh Conv ConvTranspose Cos Cosh Det Dropout Elu EyeLike GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid InstanceNormalization LpNormalization MaxPool MaxRoiPool Multinomial NegativeLogLikelihoodLoss RandomNormal RandomNormalLike RandomUniform RandomUniformLike Round Selu Sin Sinh Softplus Softsign Tan ThresholdedRelu',
    { 22: types },
  ),
  ...each('Add Sub Mul Div Relu CumSum', { 14: types }),
  ...each('LessOrEqual GreaterOrEqual Where LeakyRelu PRelu', { 16: types }),
  ...each('Constant If Loop Scan', { 16: types, 19: types, 21: types, 23: types }),
  ...each('Size', { 19: types, 21: types, 23: types }),
  ...each('Flatten Transpose Squeeze Unsqueeze QLinearMatMul', { 21: types, 23: types }),
  ...each('IsInf IsNaN', { 20: types }),
  ...each('LSTM GRU RNN', { 14: without(['layout', 0]), 22: types }),
  ...each('ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSumSquare', {
    18: axesAttribute,
  }),
  ...each('ReduceMax ReduceMin', { 18: axesAttribute, 20: types }),
  ...each('ScatterElements ScatterND', { 18: scatter, 16: scatter }),
  ...each(
    'AffineGrid Bernoulli BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow CenterCropPad Col2Im DFT DeformConv GridSample GroupNormalization HammingWindow HannWindow ImageDecoder MelWeightMatrix Optional OptionalGetElement OptionalHasElement STFT SequenceMap StringConcat StringSplit RegexFullMatch Trilu RotaryEmbedding RMSNormalization Attention RoiAlign MaxUnpool LpPool',
    { 14: absent, 15: absent, 16: absent, 17: absent, 18: absent, 19: absent, 20: absent, 22: absent, 23: absent },
  ),
  AveragePool: { 19: averagePool, 22: types },
  BatchNormalization: { 14: without(['training_mode', 0]), 15: types },
  Cast: { 19: without(['saturate', 1]), 21: types, 23: types },
  CastLike: { 15: castLike, 19: types, 21: types, 23: types },
  ConstantOfShape: { 20: types, 21: types, 23: types },
  DequantizeLinear: { 19: quantize19, 21: quantize, 23: quantize },
  QuantizeLinear: { 19: quantize19, 21: quantize, 23: quantize },
  Equal: { 19: types },
  Gelu: { 20: gelu(({ node }) => stringOf(node, 'approximate', 'none') === 'tanh') },
  HardSwish: { 14: hardSwish, 22: types },
  Identity: { 14: types, 16: types, 19: types, 21: types, 23: types },
  LayerNormalization: { 17: layerNormalization },
  Mish: { 18: mish, 22: types },
  Pad: { 18: pad, 19: pad, 21: types, 23: types },
  Pow: { 15: types },
  Reshape: { 14: without(['allowzero', 0]), 19: types, 21: types, 23: types },
  Resize: { 18: refused('its form of that version is not known here'), 19: absent },
  Shape: { 15: shape, 19: types, 21: types, 23: types },
  Split: { 18: split },
}

/**
 * Converts a model down to an older operator set, in place; a newer or equal wish changes nothing. Throws UNSUPPORTED
 * naming the operator that has no older form, or OPTION_INVALID for a set outside the known ones.
 */
export function convertOpset(model: ModelProto, wanted: number) {
  const own = model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')
  const from = Number(own?.version ?? 0)
  if (!own || wanted >= from) return
  if (wanted < opsets.oldest || from > opsets.newest) {
    throw fail('OPTION_INVALID', {
      option: 'opset',
      reason: `a model of opset ${from} can be converted to ${opsets.oldest}..${Math.min(from, opsets.newest)}`,
    })
  }
  const step = (version: number) => (site: Site) => changes[site.node.opType][version](site)
  // newest changes first: what a rule adds is itself of the older form or has a rule further down
  for (let version = from; version > wanted; version--) {
    rewrite(
      model,
      ({ domain, opType }) =>
        (domain === '' || domain === 'ai.onnx') && Object.hasOwn(changes, opType) && changes[opType][version]
          ? step(version)
          : undefined,
      `in opset ${version - 1}`,
    )
  }
  sweep(model)
  own.version = BigInt(wanted)
  model.irVersion = BigInt(Math.min(Number(model.irVersion), irVersions[wanted - opsets.oldest]))
}
