import { fakeActivations, fakeBlocks, fakeChannels, reachOf } from '../../autograd/fake-quantize.ts'
import { type Around, buildImported, exportImported, openImported, pathOf } from '../../autograd/imported.ts'
import { fail } from '../../base/errors.ts'
import { intOf } from '../../graph/attributes.ts'
import type { Value } from '../../graph/builder.ts'
import { Edit } from '../../graph/edit.ts'
import type { ModelProto, NodeProto } from '../../graph/gen/onnx_pb.js'
import * as o from '../../graph/ops.ts'
import { WEIGHTS } from '../../graph/stored.ts'
import type { Weights } from '../../train/checkpoint.ts'
import type { TrainEvent } from '../../train/events.ts'
import { initialWeights } from '../../train/graph.ts'
import { learn, learnImages, trainedWith } from '../learn.ts'
import type { PassContext } from '../pass.ts'
import { type Subject, withModel } from '../subject.ts'
import { teacherOf } from '../teacher.ts'
import { type Layer, nodeOf } from './layers.ts'

/** How weights and activations of a scheme are rounded. */
export interface Rounding {
  readonly activations: boolean
  /** Largest magnitude of a channel's integers, or the bits of blocks. */
  readonly weights: { limit: number } | { block: number; bits: 4 | 8 }
  /** Whether training also finds how far the numbers of a channel or block reach: those beyond are clipped. */
  readonly learned: boolean
}

/** The learning rate as a part of the one that the version was trained with, and that where it is not known. */
const [SLOWER, RATE] = [0.2, 1e-4]
/** What the version's own soft answers count beside the labels. */
const TAUGHT = { temperature: 2, share: 0.5 }

/**
 * Trains the graph on while its layers are rounded as they will be once they are quantized (Jacob et al. 2018), by its labels
 * and by what it says itself while it is not. What comes out is floats that lose less by rounding.
 */
export async function* learnRounded(
  subject: Subject,
  layers: readonly Layer[],
  rounding: Rounding,
  context: PassContext,
): AsyncGenerator<TrainEvent, Subject> {
  const { task } = subject.manifest
  if (rounding.learned && task !== 'text-classification')
    throw fail('UNSUPPORTED', {
      what: `learning how far weights reach for a model of the task ${task}`,
      instead: 'Classifiers of texts can learn it; leave learned=true away for others.',
    })
  const around = roundedLayers(layers, rounding)
  const { learningRate } = trainedWith(subject.manifest)
  const rate = learningRate == null ? RATE : Number(learningRate) * SLOWER
  if (task === 'image-classification')
    return yield* learnImages(subject, context, { epochs: 1, learningRate: rate }, around)
  if (task !== 'text-classification')
    throw fail('UNSUPPORTED', {
      what: `quantization-aware training of a model of the task ${task}`,
      instead: 'Classifiers of texts and of images can be trained so; quantize others without it.',
    })
  const imported = openImported(subject.model, { trainable: WEIGHTS, output: 'probabilities', logits: true })
  const learnt = yield* learn(subject, context, {
    // the loop's and the task's options are the same for all families; the network is the graph's
    family: 'transformer',
    options: { epochs: 1, learningRate: rate, average: 0 },
    initial: initialWeights(imported),
    teacher: await teacherOf(subject, TAUGHT, context.threads),
    graph: {
      build: (network, ids, lengths) => buildImported(network, imported, { ids, lengths }, around),
      served: (weights) => exportImported(imported, clippedTo(imported.model, layers, weights), false),
    },
  })
  return withModel(subject, learnt.model)
}

/** Rounds what goes into each of the layers, and the rows that are taken of tables. */
export function roundedLayers(layers: readonly Layer[], { activations, weights, learned }: Rounding): Around {
  const known = new Map(layers.map((layer) => [layer.output, layer]))
  return (node, inputs, make, network) => {
    const layer = node.output.map((name) => known.get(name)).find((one) => one !== undefined)
    const [x, w, ...rest] = inputs
    if (!layer || !x || !w) return make(inputs)
    /** The reach of each group of numbers, where it is learnt. */
    const reach = (name: string, dims: readonly number[]) =>
      learned ? network.parameter(reachName(layer, name), dims, { kind: 'zeros' }, { decay: false }) : undefined
    const rows = (w: Value, name: string, learns = true) => {
      const [inputs, outer] = [Number(w.shape.at(-1)), w.shape.slice(0, -1).map(Number)]
      if ('limit' in weights)
        return fakeChannels(w, [outer.length], weights.limit, learns ? reach(name, [...outer, 1]) : undefined)
      if (inputs % weights.block !== 0) return w
      const groups = (outer.reduce((a, b) => a * b, 1) * inputs) / weights.block
      return fakeBlocks(w, weights.block, weights.bits, learns ? reach(name, [groups, 1]) : undefined)
    }
    return o.within(w.graph, () => {
      if (layer.kind === 'gather') return make(inputs).map((taken) => rows(taken, '', false))
      if (layer.kind === 'conv') {
        const axes = [1, 2, 3].slice(0, w.shape.length - 1)
        const dims = w.shape.map((dim, axis) => (axis === 0 ? Number(dim) : 1))
        return make([fakeActivations(x), fakeChannels(w, axes, limitOf(weights), reach('w', dims)), ...rest])
      }
      if (layer.kind === 'lstm') {
        const [r, ...others] = rest
        return make([x, rows(w, 'w'), r && rows(r, 'r'), ...others])
      }
      const weight = outputsFirst(node) ? rows(w, 'w') : o.transpose(rows(o.transpose(w, [1, 0]), 'w'), [1, 0])
      return make([activations ? fakeActivations(x) : x, weight, ...rest])
    })
  }
}

const limitOf = (weights: Rounding['weights']) => ('limit' in weights ? weights.limit : 127)
const outputsFirst = (node: NodeProto) => node.opType === 'Gemm' && intOf(node, 'transB', 0) === 1
const reachName = (layer: Layer, name: string) => `${layer.output}.reach.${name}`

/** Trained weights with what lies beyond the reach of its group clipped to it, which is then the group's largest number. */
export function clippedTo(model: ModelProto, layers: readonly Layer[], weights: Weights): Weights {
  const edit = new Edit(model)
  const result = { ...weights }
  for (const layer of layers) {
    const node = nodeOf(edit, layer)
    for (const [at, name] of [
      [1, 'w'],
      [2, 'r'],
    ] as const) {
      const learnt = weights[pathOf(reachName(layer, name))]
      if (!learnt) continue
      const path = pathOf(node.input[at])
      const { dims, data } = weights[path]
      const [rows, columns] = dims
      const each = data.length / learnt.data.length
      const turned = layer.kind === 'matmul' || (layer.kind === 'gemm' && !outputsFirst(node))
      const groupOf = (i: number) => Math.floor((turned ? (i % columns) * rows + Math.floor(i / columns) : i) / each)
      const bounds = new Float32Array(learnt.data.length)
      data.forEach((value, i) => {
        bounds[groupOf(i)] = Math.max(bounds[groupOf(i)], Math.abs(value))
      })
      learnt.data.forEach((value, group) => {
        bounds[group] *= reachOf(value)
      })
      result[path] = {
        dims,
        data: data.map((value, i) => Math.max(-bounds[groupOf(i)], Math.min(bounds[groupOf(i)], value))),
      }
    }
  }
  return result
}
