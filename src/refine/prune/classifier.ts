import { toOrt } from '../../engine/session.ts'
import { signatureOf } from '../../graph/signature.ts'
import { storedWeights } from '../../graph/stored.ts'
import { int64 } from '../../graph/tensor.ts'
import { classifierInputs, families, inferenceGraph } from '../../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../../nn/family.ts'
import { classifierLoss } from '../../nn/losses.ts'
import type { Example } from '../examples/example.ts'
import { feedsFor, ortFeeds } from '../inputs.ts'
import { learn, trainedWith } from '../learn.ts'
import type { Subject } from '../subject.ts'
import { teacherOf } from '../teacher.ts'
import { countOf, EPOCHS, type Prunable, type Sized, SLOWER, unprunable } from './network.ts'

/**
 * A classifier of one of our own families, taken apart into options and weights. Throws UNSUPPORTED for weights that are no
 * longer float32 under their own names.
 */
export function ownClassifier(subject: Subject): Prunable {
  const { manifest } = subject
  const found = Object.hasOwn(families, manifest.family)
    ? families[manifest.family as keyof typeof families]
    : undefined
  const [sizes, weights] = [trainedWith(manifest), storedWeights(subject.model)]
  if (found?.task !== 'text-classification' || Object.keys(sizes).length === 0 || !weights['classifier/weight'])
    throw unprunable(manifest.family)
  const family: TextFamily = found
  const configOf = (options: Sized['sizes']): ClassifierConfig => ({
    ...options,
    vocabulary: weights['embedding/weight']?.dims[0] ?? 0,
    classes: manifest.labels.length,
  })
  const rebuilt = (network: Sized): Subject => {
    const model = inferenceGraph(family, configOf(network.sizes), network.weights)
    const parameters = countOf(
      network.weights,
      model.graph!.initializer.map(({ name }) => name),
    )
    const lineage = { ...manifest.lineage, options: { ...network.sizes } }
    return { ...subject, model, manifest: { ...manifest, parameters, lineage, signature: signatureOf(model) } }
  }
  return {
    layout: manifest.family,
    whole: { sizes, weights },
    rebuilt,
    loss(network, options) {
      const { ids, lengths } = classifierInputs(network.graph)
      const target = network.graph.input('labels', 'int64', ['batch'])
      return classifierLoss(family.build(network, ids, lengths, configOf({ ...options, dropout: 0 })), target)
    },
    batches: (rows) => labelled(subject, rows),
    async *learn(network, context, teaching) {
      const rate = Number(network.sizes.learningRate) * SLOWER
      return yield* learn(rebuilt(network), context, {
        family: manifest.family,
        options: { ...network.sizes, epochs: EPOCHS, learningRate: rate },
        initial: network.weights,
        ...(teaching.share > 0 && { teacher: await teacherOf(subject, teaching, context.threads) }),
      })
    },
  }
}

/** Batches of a classifier's inputs with `labels` int64 (batch). */
export async function labelled(subject: Subject, rows: readonly Example[]) {
  return (await feedsFor(subject, rows)).map((batch) => {
    const labels = batch.rows.map((row) => subject.manifest.labels.indexOf(rows[row].label))
    return { ...ortFeeds(batch), labels: toOrt(int64([labels.length], labels)) }
  })
}
