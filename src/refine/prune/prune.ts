import { fail } from '../../base/errors.ts'
import type { TrainEvent } from '../../train/events.ts'
import type { Option, Options } from '../../train/options.ts'
import { learnImages } from '../learn.ts'
import type { Pass, PassContext, PassResult } from '../pass.ts'
import { type Subject, withModel } from '../subject.ts'
import { channelSets, cutChannels } from './channels.ts'
import { ownClassifier } from './classifier.ts'
import { cutUnits, keepBest } from './cut.ts'
import { decoderNetwork } from './decoder.ts'
import { encoderNetwork } from './encoder.ts'
import { channelImportance, importance } from './importance.ts'
import { dropLayers } from './layers.ts'
import { EPOCHS, type Prunable } from './network.ts'
import { kindsOf, type UnitKind } from './units.ts'

/** Rows that importance is measured on, and those that layers are chosen by: the network runs on these once for each layer. */
const [ROWS, LAYER_ROWS] = [512, 128]

const share = (description: string) =>
  ({ type: 'number', default: null, minimum: 0, maximum: 0.95, description }) as const

const options = {
  share: {
    type: 'number',
    default: 0.5,
    minimum: 0,
    maximum: 0.95,
    description: 'of recurrent units, filters, feed-forward neurons and heads: how many go',
  },
  heads: share('of attention heads, if another share of them is to go'),
  layers: {
    type: 'integer',
    default: 0,
    minimum: 0,
    maximum: 47,
    description: 'whole layers of a Transformer, encoder or decoder that go',
  },
  taught: {
    type: 'number',
    default: 0.5,
    minimum: 0,
    maximum: 1,
    description: 'in training afterwards, the part of the loss that the version itself teaches',
  },
  temperature: { type: 'number', default: 2, minimum: 1, maximum: 20, description: 'at which it teaches' },
} as const satisfies Record<string, Option>

/** What a version is as a network, by its task and whether it is an encoder of BERT's kind. */
function prunableOf(subject: Subject): Prunable {
  if (subject.manifest.encoder) return encoderNetwork(subject)
  return subject.manifest.task === 'text-generation' ? decoderNetwork(subject) : ownClassifier(subject)
}

/** Matrices become smaller by the units that matter least; training goes on from the weights that are left. */
export const prune: Pass = {
  description: 'take out the units that matter least, so that matrices become smaller, and train on from what is left',
  options,
  wantsFloats: true,
  async *apply(subject, given, context) {
    const { manifest } = subject
    if (manifest.task === 'image-classification') return yield* pruneChannels(subject, Number(given.share), context)
    const prunable = prunableOf(subject)
    const kinds = kindsOf(prunable.layout)
    const rows = context.heldIn.slice(0, ROWS)
    if (rows.length === 0 || !context.training.data)
      throw fail('REFINE_NEEDS_DATA', { source: manifest.lineage.dataset?.source ?? 'it has no lineage' })
    let network = prunable.whole
    const notes: string[] = []
    const layers = Number(given.layers)
    if (layers > 0) {
      if (!LAYERED.has(prunable.layout) || layers >= Number(network.sizes.layers))
        throw fail('OPTION_INVALID', { option: 'layers', reason: `${layers} layers cannot go` })
      const found = await dropLayers(prunable, network, layers, rows.slice(0, LAYER_ROWS), context.threads)
      network = found.network
      notes.push(`without layers ${found.dropped.join(', ')}`)
    }
    for (const kind of kinds) {
      const { sizes } = network
      const from = Number(sizes[kind.option])
      const to = left(from, shareOf(kind, given), kind.multiple)
      if (to >= from) continue
      const sets = kind.sets(sizes)
      const scores = await importance(prunable, network, sets, rows, context.threads)
      const kept = scores.map((one) => keepBest(one, to))
      network = {
        sizes: { ...sizes, ...kind.resized?.(sizes, to), [kind.option]: to },
        weights: cutUnits(network.weights, sets, kept),
      }
      notes.push(`${kind.option} ${from} → ${to}`)
    }
    const teaching = { temperature: Number(given.temperature), share: Number(given.taught) }
    const learnt = yield* prunable.learn(network, context, teaching)
    return { subject: learnt, note: `${notes.join(', ')}; trained on` }
  },
}

/** Networks of layers that are all alike, so that some can go. */
const LAYERED = new Set(['transformer', 'encoder', 'gpt', 'llama'])

/** Filters that only one other convolution reads go; then the graph is trained on as one of images. */
async function* pruneChannels(
  subject: Subject,
  share: number,
  context: PassContext,
): AsyncGenerator<TrainEvent, PassResult> {
  const sets = channelSets(subject.model)
  if (sets.length === 0)
    throw fail('UNSUPPORTED', {
      what: 'structured pruning of a graph without filters that one other convolution alone reads',
      instead: 'Networks of residual blocks, or of convolutions in a row, can be pruned before they are quantized.',
    })
  const rows = context.heldIn.slice(0, ROWS)
  if (rows.length === 0)
    throw fail('REFINE_NEEDS_DATA', { source: subject.manifest.lineage.dataset?.source ?? 'it has no lineage' })
  const scores = await channelImportance(subject, sets, rows, context.threads)
  const { model, before, after } = cutChannels(subject.model, sets, scores, share)
  const learnt = yield* learnImages(withModel(subject, model), context, { epochs: EPOCHS })
  return { subject: learnt, note: `filters of ${sets.length} convolutions ${before} → ${after}; trained on` }
}

const shareOf = (kind: UnitKind, { share, heads }: Options) => Number(kind.heads && heads !== null ? heads : share)

/** How many of `from` units stay when a share goes, rounded to what suits the CPU; at least one multiple. */
const left = (from: number, gone: number, multiple: number) =>
  Math.min(from, Math.max(multiple, Math.round((from * (1 - gone)) / multiple) * multiple))
