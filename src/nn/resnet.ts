import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { ImageFamily } from './family.ts'
import { dense } from './layers.ts'
import { batchNormalisation } from './normalisation.ts'

/** A residual network: how it begins, its stages and the kind of its blocks. */
interface Layout {
  /** A 7 × 7 convolution of stride 2 and a pooling, for images of some 224 pixels; or one 3 × 3 for small ones. */
  stem: 'large' | 'small'
  /** Blocks of each stage; each stage but the first halves height and width. */
  stages: readonly number[]
  /** Channels of the first stage; they double from stage to stage. */
  width: number
  /** A bottleneck block is three convolutions, the outer two 1 × 1, with four times the channels at its end. */
  bottleneck: boolean
}

/** Those of He et al. 2016, table 1, and a small one as in its section 4.2: three stages of equal numbers of blocks. */
const layouts: Record<string, (width: number, blocks: number) => Omit<Layout, 'stem'>> = {
  '18': () => ({ stages: [2, 2, 2, 2], width: 64, bottleneck: false }),
  '34': () => ({ stages: [3, 4, 6, 3], width: 64, bottleneck: false }),
  '50': () => ({ stages: [3, 4, 6, 3], width: 64, bottleneck: true }),
  small: (width, blocks) => ({ stages: [blocks, blocks, blocks], width, bottleneck: false }),
}
/** Images of more pixels a side begin with the large stem. */
const SMALL_IMAGE = 64

/** The network that the options `depth`, `width`, `blocks` and `stem` name. */
export const resnetClassifier: ImageFamily['build'] = (network, pixels, { classes, ...options }) => {
  const side = Math.max(Number(pixels.shape[2]), Number(pixels.shape[3]))
  const stem = options.stem === 'auto' ? (side > SMALL_IMAGE ? 'large' : 'small') : (options.stem as Layout['stem'])
  const layout = layouts[String(options.depth)](Number(options.width), Number(options.blocks))
  return resnet(network, pixels, classes, { stem, ...layout })
}

/**
 * Residual network (He et al. 2016): pixels (batch, channels, height, width) → logits (batch, classes). Parameters are
 * named as torchvision names them, with `/` where a module is entered: `layer1.0/conv1/weight`, `fc/bias`.
 */
export function resnet(network: Network, pixels: Value, classes: number, layout: Layout): Value {
  const { graph } = network
  const { stem, stages, width, bottleneck } = layout
  const [size, stride] = stem === 'large' ? [7, 2] : [3, 1]
  let x = convolution(network.scope('conv1'), pixels, width, size, stride)
  x = relu(network, batchNormalisation(network.scope('bn1'), x))
  if (stem === 'large') x = o.within(graph, () => maxPool(x, network.training))
  stages.forEach((blocks, stage) => {
    for (let i = 0; i < blocks; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1
      const block = network.scope(`layer${stage + 1}.${i}`)
      x = (bottleneck ? bottleneckBlock : basicBlock)(block, x, width << stage, stride)
    }
  })
  const pooled = o.within(graph, () => o.flatten(o.globalAveragePool(x))) // (batch, channels)
  return dense(network.scope('fc'), pooled, classes)
}

type Block = (network: Network, x: Value, width: number, stride: number) => Value

const basicBlock: Block = (network, x, width, stride) => {
  let y = convolution(network.scope('conv1'), x, width, 3, stride)
  y = relu(network, batchNormalisation(network.scope('bn1'), y))
  y = convolution(network.scope('conv2'), y, width, 3)
  y = batchNormalisation(network.scope('bn2'), y)
  return joined(network, y, x, stride)
}

/** The stride is in the 3 × 3 convolution, as in torchvision. */
const bottleneckBlock: Block = (network, x, width, stride) => {
  let y = convolution(network.scope('conv1'), x, width, 1)
  y = relu(network, batchNormalisation(network.scope('bn1'), y))
  y = convolution(network.scope('conv2'), y, width, 3, stride)
  y = relu(network, batchNormalisation(network.scope('bn2'), y))
  y = convolution(network.scope('conv3'), y, 4 * width, 1)
  y = batchNormalisation(network.scope('bn3'), y)
  return joined(network, y, x, stride)
}

/** The block's answer added to its input, which is brought to the same shape where that differs. */
function joined(network: Network, y: Value, x: Value, stride: number): Value {
  const width = Number(y.shape[1])
  let past = x
  if (stride > 1 || Number(x.shape[1]) !== width) {
    past = convolution(network.scope('downsample.0'), x, width, 1, stride)
    past = batchNormalisation(network.scope('downsample.1'), past)
  }
  return o.within(network.graph, () => o.relu(o.add(y, past)))
}

/** A square convolution without bias that keeps the size but for the stride; started as He et al. 2015 (fan-out). */
function convolution(network: Network, x: Value, filters: number, size: number, stride = 1): Value {
  const channels = Number(x.shape[1])
  const init = { kind: 'normal', deviation: Math.sqrt(2 / (filters * size * size)) } as const
  const weight = network.parameter('weight', [filters, channels, size, size], init)
  const around = (size - 1) / 2
  return o.within(network.graph, () => o.conv(x, weight, [around, around, around, around], [stride, stride]))
}

const relu = (network: Network, x: Value) => o.within(network.graph, () => o.relu(x))

/** Maxima of 3 × 3 windows, stride 2. In training their positions come out as well, for the gradient. */
function maxPool(x: Value, training: boolean): Value {
  const window = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }
  return x.graph.node('MaxPool', [x], window, training ? ['Pooled', 'Indices'] : ['Pooled'])[0]
}
