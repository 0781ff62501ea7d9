import { fail } from '../../base/errors.ts'
import { Edit } from '../../graph/edit.ts'
import { signatureOf } from '../../graph/signature.ts'
import { families, inferenceGraph } from '../../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../../nn/family.ts'
import type { Weights } from '../../train/checkpoint.ts'
import type { Options } from '../../train/options.ts'
import { trainedWith } from '../learn.ts'
import type { Subject } from '../subject.ts'

/** A version as the network it was trained as: its family, what that was built from, and its weights by their paths. */
export interface Trained {
  readonly name: string
  readonly family: TextFamily
  readonly options: Options
  readonly weights: Weights
}

/** What a family builds from, of a version: the options that it was trained with, its tokens and its classes. */
export const configOf = ({ manifest }: Subject, weights: Weights, options: Options): ClassifierConfig => ({
  ...options,
  vocabulary: weights['embedding/weight']?.dims[0] ?? 0,
  classes: manifest.labels.length,
})

/**
 * Takes a version apart into family, options and weights. Throws UNSUPPORTED for imported models and for weights that are no
 * longer float32 under their own names.
 */
export function trainedNetwork(subject: Subject): Trained {
  const { family: name, task } = subject.manifest
  const family = Object.hasOwn(families, name) ? families[name as keyof typeof families] : undefined
  const options = trainedWith(subject.manifest)
  const edit = new Edit(subject.model)
  const weights: Weights = {}
  for (const { name: path } of edit.graph.initializer) {
    const tensor = edit.dims(path) && edit.tensor(path)
    if (tensor?.dtype === 'float32') weights[path] = { dims: tensor.dims, data: tensor.data as Float32Array }
  }
  const trained = task === 'text-classification' && family?.task === 'text-classification'
  if (!trained || Object.keys(options).length === 0 || !weights['classifier/weight']) {
    throw fail('UNSUPPORTED', {
      what: `structured pruning of a version of the family ${name}`,
      instead: 'Text classifiers that were trained here, and not yet quantized, can be pruned.',
    })
  }
  return { name, family, options, weights }
}

/** The version with other weights and sizes. */
export function rebuilt(subject: Subject, { family, options, weights }: Trained): Subject {
  const model = inferenceGraph(family, configOf(subject, weights, options), weights)
  const own = new Set(model.graph!.initializer.map(({ name }) => name))
  const parameters = Object.entries(weights).reduce(
    (sum, [path, { data }]) => sum + (own.has(path) ? data.length : 0),
    0,
  )
  const { manifest } = subject
  const lineage = { ...manifest.lineage, options: { ...options } }
  return { ...subject, model, manifest: { ...manifest, parameters, lineage, signature: signatureOf(model) } }
}
