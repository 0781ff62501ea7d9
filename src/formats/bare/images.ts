import { fail } from '../../base/errors.ts'
import type { ImagePipelineConfig } from '../../data/images/pixels.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { inferModel } from '../../graph/infer.ts'
import * as o from '../../graph/ops.ts'
import { signatureOf } from '../../graph/signature.ts'
import { type DataType, isDataType } from '../../graph/tensor.ts'
import { framed, opsetOf } from './frame.ts'
import { type PixelScale, pixelScales, scales } from './scales.ts'
import { finalActivation, probabilities } from './scores.ts'

interface Seen {
  height: number
  width: number
  channels: 1 | 3
  /** Whether channels come last, as in TensorFlow. */
  last: boolean
}

const numbers = ['float32', 'float16', 'float64', 'uint8', 'int32']

/**
 * The size of the images that a graph looks as if it classified: one input of any number of images, channels first or last,
 * of a size that it says, and rows of scores. Undefined for any other graph.
 */
export function imagesSeen(model: ModelProto): Seen | undefined {
  const { inputs, outputs } = signatureOf(model)
  const [{ shape, dtype } = { shape: [], dtype: '' }] = inputs
  if (inputs.length !== 1 || shape.length !== 4 || typeof shape[0] === 'number' || !numbers.includes(dtype))
    return undefined
  if (!outputs.some((output) => output.shape.length === 2)) return undefined
  const seen = ([height, width, channels]: (number | string)[], last: boolean): Seen | undefined =>
    typeof height === 'number' && typeof width === 'number' && (channels === 1 || channels === 3)
      ? { height, width, channels, last }
      : undefined
  return seen([shape[2], shape[3], shape[1]], false) ?? seen([shape[1], shape[2], shape[3]], true)
}

/**
 * Makes a graph that classifies images one that is served: input `pixels` float32 (batch, channels, height, width), output
 * `probabilities` (batch, classes); one sigmoid becomes two classes, scores that are no probabilities get a softmax. Throws
 * UNSUPPORTED or OPTION_INVALID.
 */
export function servingImages(
  model: ModelProto,
  { pixels, fit = 'cover' }: { pixels?: PixelScale; fit?: ImagePipelineConfig['fit'] },
): { model: ModelProto; classes: number; config: ImagePipelineConfig } {
  const seen = imagesSeen(model)
  const { inputs, outputs } = signatureOf(model)
  const [input] = inputs
  const output = outputs.find(({ name }) => name === 'probabilities') ?? outputs.find(({ shape }) => shape.length === 2)
  const inferred = output && (inferModel(model).get(output.name)?.shape ?? output.shape)
  const classes = inferred?.at(-1)
  if (!seen || !output || !isDataType(output.dtype) || typeof classes !== 'number' || opsetOf(model) < 13)
    throw fail('UNSUPPORTED', {
      what: `an image model of opset ${opsetOf(model)} that takes [${input?.shape}] and gives ${output?.dtype} [${inferred ?? '?'}]`,
      instead: 'It must take any number of images of one size, in 1 or 3 channels. Import it with --task tensor.',
    })
  const { height, width, channels, last } = seen
  if (pixels === undefined || (pixels === 'imagenet' && channels === 1))
    throw fail('OPTION_INVALID', {
      option: 'pixels',
      reason: `say what pixels were in training: ${pixelScales.join(', ')} (0 to 255, 0 to 1, -1 to 1, ImageNet’s scale of colours)`,
    })
  const before = new GraphBuilder()
  const given = before.input('pixels', 'float32', ['batch', channels, height, width])
  const turned = last ? o.transpose(given, [0, 2, 3, 1]) : o.identity(given)
  before.output(o.cast(turned, input.dtype as DataType), 'images/given')
  const after = new GraphBuilder()
  const scores = after.input('images/scores', output.dtype, ['batch', classes])
  after.output(probabilities(o.cast(scores, 'float32'), finalActivation(model.graph!, output.name)), 'probabilities')
  const joints = new Map([
    [input.name, 'images/given'],
    [output.name, 'images/scores'],
  ])
  const { mean, deviation } = scales[pixels]
  return {
    model: framed(model, { before, after, joints }),
    classes: Math.max(2, classes),
    config: { height, width, channels, fit, mean: mean.slice(0, channels), deviation: deviation.slice(0, channels) },
  }
}
