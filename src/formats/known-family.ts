import { type AthanorError, fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { storedWeights } from '../graph/stored.ts'
import type { Tensor } from '../graph/tensor.ts'
import { families, inferenceGraph } from '../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../nn/family.ts'

/** Families that layers are written for. */
type TextFamilyName = {
  [K in keyof typeof families]: (typeof families)[K]['task'] extends 'text-classification' ? K : never
}[keyof typeof families]

/** A model known to be of a family: its weights by path and the configuration that rebuilds its very graph. */
export interface KnownFamily {
  readonly family: TextFamilyName
  readonly config: ClassifierConfig
  readonly weights: ReadonlyMap<string, Tensor>
}

type Sizes = (weight: (name: string) => readonly number[]) => Record<string, number | boolean>

/** Sizes that show in the weights, whatever the options were: a refined version may be smaller than it began. */
const recurrentSizes =
  (cell: string): Sizes =>
  (dims) => {
    let layers = 0
    while (dims(`${cell}.${layers}/W`).length > 0) layers++
    return { layers, hidden: dims(`${cell}.0/R`)[2], bidirectional: dims(`${cell}.0/R`)[0] === 2 }
  }
const convolutionSizes: Sizes = (dims) => {
  const windows = Array.from({ length: 24 }, (_, i) => i + 1).filter(
    (size) => dims(`windows.${size}/weight`).length > 0,
  )
  return { filters: dims(`windows.${windows[0]}/weight`)[0], narrowest: windows[0], windows: windows.length }
}
const sizes: Record<TextFamilyName, Sizes> = {
  lstm: recurrentSizes('lstm'),
  gru: recurrentSizes('gru'),
  rnn: recurrentSizes('rnn'),
  textcnn: convolutionSizes,
  wide: (dims) => ({ ...convolutionSizes(dims), bagWidth: dims('phrases/embedding/weight')[1] }),
  bow: () => ({}),
  transformer(dims) {
    let layers = 0
    while (dims(`layer.${layers}/attention/in/weight`).length > 0) layers++
    const learned = dims('positions/weight')
    return {
      layers,
      inner: dims('layer.0/feedForward/in/weight')[0],
      ...(learned.length > 0 && { maxLength: learned[0] }),
    }
  },
}

/**
 * Finds the family and options that rebuild a version's graph node by node from its weights: what is then done with the
 * family's layers is done with what is served. Throws what `refuse` makes of the reason for graphs that are no family's,
 * say quantized ones.
 */
export function knownFamily(model: ModelProto, manifest: Manifest, refuse: (why: string) => AthanorError): KnownFamily {
  if (!Object.hasOwn(sizes, manifest.family)) throw refuse(`Known are the families ${Object.keys(sizes).join(', ')}.`)
  const name = manifest.family as TextFamilyName
  const family: TextFamily = families[name]
  const weights = new Map(Object.entries(storedWeights(model)))
  const dims = (path: string) => weights.get(path)?.dims ?? []
  const [vocabulary, width] = dims('embedding/weight')
  const classes = dims('classifier/bias')[0]
  if (vocabulary === undefined || classes === undefined) throw refuse('Its weights are not those of the family.')
  const given = (manifest.lineage.options ?? {}) as Record<string, number | string | boolean>
  const found = { width, ...sizes[name](dims) }
  const base: ClassifierConfig = {
    vocabulary,
    classes,
    maxLength: Number(manifest.pipeline?.maxLength ?? 0),
    dropout: 0,
  }
  for (const candidate of candidates(family, { ...given, ...found })) {
    const config = { ...base, ...candidate, ...found }
    if (sameGraph(model, family, config, weights, manifest.problem)) return { family: name, config, weights }
  }
  if (name === 'bow' && given.ngrams !== 1)
    throw refuse('A bag of hashed n-grams cannot be said in layers; train it with --set ngrams=1.')
  throw refuse(`Its graph is no longer that of the family ${name}.`)
}

/** As `knownFamily`, for writing it layer by layer. */
export const layersOf = (model: ModelProto, manifest: Manifest, format: string): KnownFamily =>
  knownFamily(model, manifest, (why) =>
    fail('UNSUPPORTED', {
      what: `writing this version as ${format}`,
      instead: `${why} Export it as onnx or savedmodel instead.`,
    }),
  )

/** Options as given; for a choice that was not recorded, each possible one. */
function candidates(
  family: TextFamily,
  given: Record<string, number | string | boolean>,
): Record<string, number | string | boolean>[] {
  return Object.entries(family.options).reduce<Record<string, number | string | boolean>[]>(
    (all, [option, { choices, default: standard }]) => {
      const values = option in given ? [given[option]] : (choices ?? [standard])
      return all.flatMap((one) => values.map((value) => ({ ...one, [option]: value })))
    },
    [{}],
  )
}

function sameGraph(
  model: ModelProto,
  family: TextFamily,
  config: ClassifierConfig,
  weights: ReadonlyMap<string, Tensor>,
  problem: Problem = 'classification',
): boolean {
  const lookup = Object.fromEntries([...weights].map(([path, { data }]) => [path, { data: data as Float32Array }]))
  let rebuilt: ModelProto
  try {
    rebuilt = inferenceGraph(family, config, lookup, { problem })
  } catch {
    return false // weights of other sizes or names
  }
  return Buffer.from(writeModel(rebuilt)).equals(Buffer.from(writeModel({ ...model, graph: model.graph! })))
}
