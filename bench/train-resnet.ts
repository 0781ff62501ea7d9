import { trainingGraph } from '../src/autograd/training.ts'
import { families } from '../src/nn/families.ts'
import { pixelsInput } from '../src/nn/images.ts'
import { classifierLoss } from '../src/nn/losses.ts'
import { race } from './lib/race.ts'
import type { Work } from './lib/work.ts'

export const description =
  'a training step of a small residual network on MNIST’s size (ATHANOR_PYTHON names a Python that has torch)'

interface Sizes {
  rows: number
  /** Pixels a side. */
  size: number
  /** Channels of the first of three stages. */
  width: number
  blocks: number
  classes: number
}

/** Multiplications of the convolutions and the last layer, forwards. */
function products({ rows, size, width, blocks, classes }: Sizes): number {
  let total = rows * size ** 2 * 9 * width
  let [side, channels] = [size, width]
  for (let stage = 0; stage < 3; stage++) {
    const out = width << stage
    for (let block = 0; block < blocks; block++) {
      if (stage > 0 && block === 0) {
        side /= 2
        total += rows * side ** 2 * channels * out // the shortcut
      }
      total += rows * side ** 2 * 9 * (channels * out + out * out)
      channels = out
    }
  }
  return total + rows * channels * classes
}

/** Classification of grey images by a small residual network. */
export function imageWork(sizes: Sizes): Work {
  const { rows, size, width, blocks, classes } = sizes
  return {
    peer: 'images.py',
    config: { family: 'resnet', ...sizes },
    rows,
    flops: 3 * 2 * products(sizes),
    goal: 0.8,
    learningRate: 1e-3,
    turn: 2.5,
    graph: () =>
      trainingGraph((network) => {
        const labels = network.graph.input('labels', 'int64', ['batch'])
        const pixels = pixelsInput(network.graph, { channels: 1, height: size, width: size })
        const config = { classes, depth: 'small', width, blocks, stem: 'small' }
        return classifierLoss(families.resnet.build(network, pixels, config), labels)
      }),
    batch(step) {
      const data = Float32Array.from(
        { length: rows * size * size },
        (_, i) => ((i * 7919 + step * 104_729) % 1000) / 500 - 1,
      )
      const labels = BigInt64Array.from({ length: rows }, (_, row) => BigInt((row + step) % classes))
      const tensors = {
        pixels: { type: 'float32', dims: [rows, 1, size, size], data },
        labels: { type: 'int64', dims: [rows], data: labels },
      } as const
      return { tensors, rows, sizes: {} }
    },
  }
}

export const work = imageWork({ rows: 64, size: 28, width: 16, blocks: 1, classes: 10 })
export const run = (log: (line: string) => void) => race('train-resnet', work, log)
