import { trainingGraph } from '../autograd/training.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { TextPipeline } from '../data/pipeline.ts'
import type { Sample } from '../data/samples.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { classifierInputs, families, inferenceGraph } from '../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../nn/family.ts'
import { plainManifest } from './manifest.ts'

/** Sentences of made-up words; the label says which of two words occurs more often. */
export function sentences(count: number, seed = 1): Sample[] {
  let state = seed
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >>> 8) % below
  }
  return Array.from({ length: count }, () => {
    const words = Array.from({ length: 4 + next(12) }, () => `w${next(60)}`)
    const label = ['good', 'bad'][next(2)]
    for (let i = 0; i < 2; i++) words.splice(next(words.length), 0, label === 'good' ? 'sun' : 'rain')
    return { text: words.join(' '), label }
  })
}

type TextFamilyName = {
  [K in keyof typeof families]: (typeof families)[K] extends TextFamily ? K : never
}[keyof typeof families]

/** A classifier of any family of texts with made-up weights, as a bundle in parts: for tests that need no training. */
export async function madeClassifier(
  name: TextFamilyName,
  options: Record<string, number | string | boolean> = {},
  tokenizer: 'character' | 'word' | 'both' | 'bpe' = 'word',
) {
  const samples = sentences(200)
  async function* texts() {
    for (const { text } of samples) yield text
  }
  const pipeline = await TextPipeline.train(texts(), {
    normalise: { unicode: 'NFKC', lowercase: true },
    tokenizer,
    vocabulary: 200,
    minimumCount: 1,
    maxLength: 32,
  })
  const family: TextFamily = families[name]
  const defaults = Object.fromEntries(Object.entries(family.options).map(([key, option]) => [key, option.default]))
  const resolved = { ...defaults, maxLength: 32, ...options }
  const config: ClassifierConfig = { ...resolved, vocabulary: pipeline.vocabularySize, classes: 2 }
  const { parameters, frozen } = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const logits = family.build(network, ids, lengths, config)
    return o.within(network.graph, () => ({ loss: o.reduceMean(logits), correct: o.sizeOf(logits) }))
  })
  const weights = Object.fromEntries(
    [...parameters, ...frozen].map(({ name: path, dims, init }, k) => {
      const scale = { uniform: 0.3, normal: 0.5, zeros: 0.1, ones: 0.1 }[init.kind]
      const centre = init.kind === 'ones' ? 1 : 0
      const length = dims.reduce((a, b) => a * b, 1)
      return [
        path,
        { dims, data: Float32Array.from({ length }, (_, i) => centre + Math.sin(i * 1.7 + i * i * 0.013 + k) * scale) },
      ]
    }),
  )
  const model = inferenceGraph(family, config, weights)
  const manifest: Manifest = {
    ...plainManifest,
    task: 'text-classification',
    family: name,
    signature: signatureOf(model),
    labels: ['bad', 'good'],
    pipeline: pipeline.config as unknown as Record<string, unknown>,
    parameters: parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0),
    lineage: { code: 'test', options: resolved },
  }
  return { manifest, model, files: { 'tokenizer.json': Buffer.from(pipeline.tokenizerJson) }, weights, samples }
}

/** What passes that train have, for tests that do not. */
export const noTraining = { run: 'test', read: {}, seed: 1, options: {}, exclude: [] }
