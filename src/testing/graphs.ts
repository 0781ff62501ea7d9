import { trainingGraph } from '../autograd/training.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { elements, float32, int64, type Tensor } from '../graph/tensor.ts'
import { decoderGraph } from '../nn/decoder.ts'
import { type EncoderHead, encoderModel, portableModel } from '../nn/encoders.ts'
import { imageInference, pixelsInput } from '../nn/images.ts'
import { classifierLoss } from '../nn/losses.ts'
import { resnet } from '../nn/resnet.ts'
import { smallDecoder } from './decoders.ts'
import { tinyEncoder } from './tiny-encoder.ts'
import { madeRows, madeVariants } from './variants.ts'

/** A graph as it is served, and something to run it on. */
export interface MadeGraph {
  readonly name: string
  readonly model: ModelProto
  readonly feeds: Readonly<Record<string, Tensor>>
}

const wave = (length: number, step: number, scale = 1) =>
  Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7 + step + i * i * 0.013) * scale)

/** Graphs of every family: classifiers of texts, encoders with each head, decoders in the middle of a text, residual networks. */
export async function madeGraphs(): Promise<MadeGraph[]> {
  const { ids, lengths } = madeRows(40)
  const [rows, time] = [lengths.length, ids[0].length]
  const texts = { ids: int64([rows, time], ids.flat()), lengths: int64([rows], lengths) }
  const classifiers = (await madeVariants()).map(({ name, model }) => ({ name, model, feeds: texts }))
  const mask = int64(
    [rows, time],
    lengths.flatMap((length) => Array.from({ length: time }, (_, t) => (t < length ? 1 : 0))),
  )
  const places = int64(
    [rows, 2],
    lengths.flatMap((length) => [0, length - 1]),
  )
  const heads: EncoderHead[] = [
    { task: 'text-classification', classes: 3 },
    { task: 'token-classification', classes: 5 },
    { task: 'fill-mask' },
    { task: 'feature-extraction', pooling: 'mean', unit: true },
  ]
  const encoders = heads.flatMap((head) => {
    const { config, weights } = tinyEncoder(['sun and rain, wind and snow, warm or cold and grey'], head)
    const feeds = { ...texts, ...(head.task === 'fill-mask' && { positions: places }) }
    const types = int64([rows, time], new Array(rows * time).fill(0))
    const named = { input_ids: texts.ids, attention_mask: mask, token_type_ids: types }
    return [
      { name: `bert-${head.task}`, model: encoderModel(config, head, weights), feeds },
      { name: `bert-${head.task}-portable`, model: portableModel(config, head, weights), feeds: named },
    ]
  })
  const decoders = await Promise.all(
    (['gpt', 'llama'] as const).map(async (layout) => {
      const { config, weights } = await smallDecoder(layout)
      return { name: layout, model: decoderGraph(config, weights), feeds: midway(config) }
    }),
  )
  return [...classifiers, ...encoders, ...decoders, madeResnet('small'), madeResnet('large')]
}

/** Two texts, the first padded at the left by one: three tokens are in the cache, two are new. */
function midway(config: Parameters<typeof decoderGraph>[0]): Record<string, Tensor> {
  const [past, fresh] = [3, 2]
  const heads = config.layout === 'gpt' ? config.heads : config.keyHeads
  const dims = [2, heads, past, config.width / config.heads]
  const cache = Array.from({ length: config.layers }, (_, i) =>
    ['key', 'value'].map((part, k) => [
      `past_key_values.${i}.${part}`,
      float32(dims, wave(elements(dims), 2 * i + k, 0.3)),
    ]),
  )
  return {
    input_ids: int64([2, fresh], [5, 9, 13, 2]),
    attention_mask: int64([2, past + fresh], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    position_ids: int64([2, fresh], [2, 3, 3, 4]),
    ...Object.fromEntries(cache.flat()),
  }
}

/** A residual network of each stem, one of basic blocks and one of bottlenecks. */
function madeResnet(stem: 'small' | 'large'): MadeGraph {
  const size = { channels: 3, height: stem === 'large' ? 32 : 12, width: stem === 'large' ? 32 : 12 }
  const layout = { stem, stages: [1, 1], width: 8, bottleneck: stem === 'large' }
  const { parameters, frozen } = trainingGraph((network) =>
    classifierLoss(
      resnet(network, pixelsInput(network.graph, size), 4, layout),
      network.graph.input('labels', 'int64', ['batch']),
    ),
  )
  const weights = Object.fromEntries(
    [...parameters, ...frozen].map(({ name, dims, init }, k) => {
      const centre = init.kind === 'ones' ? 1 : 0
      const data = wave(elements(dims), k, dims.length > 1 ? 0.2 : 0.1).map((value) => centre + value)
      return [name, { dims, data }]
    }),
  )
  const dims = [2, size.channels, size.height, size.width]
  return {
    name: `resnet-${stem}`,
    model: imageInference(size, weights, (network, pixels) => resnet(network, pixels, 4, layout)),
    feeds: { pixels: float32(dims, wave(elements(dims), 1)) },
  }
}
