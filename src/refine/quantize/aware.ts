import { fakeActivations, fakeBlocks, fakeChannels } from '../../autograd/fake-quantize.ts'
import { type Around, buildImported, exportImported, openImported } from '../../autograd/imported.ts'
import { fail } from '../../base/errors.ts'
import { intOf } from '../../graph/attributes.ts'
import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { WEIGHTS } from '../../graph/stored.ts'
import type { TrainEvent } from '../../train/events.ts'
import { initialWeights } from '../../train/graph.ts'
import { learn, learnImages, teacherOf, trainedWith } from '../learn.ts'
import type { PassContext } from '../pass.ts'
import { type Subject, withModel } from '../subject.ts'
import type { Layer } from './layers.ts'

/** How weights and activations of a scheme are rounded. */
export interface Rounding {
  readonly activations: boolean
  /** Largest magnitude of a channel's integers, or the bits of blocks. */
  readonly weights: { limit: number } | { block: number; bits: 4 | 8 }
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
      served: (weights) => exportImported(imported, weights, false),
    },
  })
  return withModel(subject, learnt.model)
}

/** Rounds what goes into each of the layers, and the rows that are taken of tables. */
export function roundedLayers(layers: readonly Layer[], { activations, weights }: Rounding): Around {
  const known = new Map(layers.map((layer) => [layer.output, layer]))
  const rows = (w: Value) => {
    if ('limit' in weights) return fakeChannels(w, [w.shape.length - 1], weights.limit)
    return Number(w.shape.at(-1)) % weights.block === 0 ? fakeBlocks(w, weights.block, weights.bits) : w
  }
  return (node, inputs, make) => {
    const layer = node.output.map((name) => known.get(name)).find((one) => one !== undefined)
    const [x, w, ...rest] = inputs
    if (!layer || !x || !w) return make(inputs)
    return o.within(w.graph, () => {
      if (layer.kind === 'gather') return make(inputs).map(rows)
      if (layer.kind === 'conv')
        return make([
          fakeActivations(x),
          fakeChannels(w, [1, 2, 3].slice(0, w.shape.length - 1), limitOf(weights)),
          ...rest,
        ])
      if (layer.kind === 'lstm') {
        const [r, ...others] = rest
        return make([x, rows(w), r && rows(r), ...others])
      }
      const outputsFirst = node.opType === 'Gemm' && intOf(node, 'transB', 0) === 1
      const weight = outputsFirst ? rows(w) : o.transpose(rows(o.transpose(w, [1, 0])), [1, 0])
      return make([activations ? fakeActivations(x) : x, weight, ...rest])
    })
  }
}

const limitOf = (weights: Rounding['weights']) => ('limit' in weights ? weights.limit : 127)
