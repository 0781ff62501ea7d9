import { trainingGraph } from '../autograd/training.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { TextPipeline } from '../data/pipeline.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { signatureOf } from '../graph/signature.ts'
import { classifierInputs, classifierLoss, families, inferenceGraph } from '../nn/families.ts'
import type { TextFamily } from '../nn/family.ts'

/** A classifier of any family with made-up weights, as an export sees it: for tests that do not train. */
export interface MadeClassifier {
  name: string
  model: ModelProto
  manifest: Manifest
  tokenizer: string
}

type Options = Record<string, number | string | boolean>

/** Small ones of every family and way of pooling, by name. */
const variants: [name: string, family: keyof typeof families, options: Options][] = [
  ['lstm', 'lstm', { width: 12, hidden: 10, layers: 1, bidirectional: false, pooling: 'last', dropout: 0.3 }],
  ['lstm-both', 'lstm', { width: 12, hidden: 6, layers: 2, bidirectional: true, pooling: 'max', dropout: 0 }],
  ['gru', 'gru', { width: 9, hidden: 7, layers: 2, bidirectional: true, pooling: 'mean', dropout: 0 }],
  ['gru-last', 'gru', { width: 9, hidden: 7, layers: 1, bidirectional: true, pooling: 'last', dropout: 0.5 }],
  ['rnn', 'rnn', { width: 8, hidden: 8, layers: 1, bidirectional: false, pooling: 'max', dropout: 0 }],
  ['rnn-mean', 'rnn', { width: 8, hidden: 5, layers: 2, bidirectional: true, pooling: 'mean', dropout: 0 }],
  ['rnn-last', 'rnn', { width: 8, hidden: 5, layers: 1, bidirectional: true, pooling: 'last', dropout: 0 }],
  ['textcnn', 'textcnn', { width: 12, filters: 8, narrowest: 1, windows: 3, dropout: 0.2 }],
  ['bow', 'bow', { width: 8, ngrams: 1, buckets: 50, dropout: 0 }],
  ['bow-ngrams', 'bow', { width: 8, ngrams: 3, buckets: 50, dropout: 0 }],
  [
    'transformer',
    'transformer',
    { width: 16, layers: 2, heads: 4, inner: 24, positions: 'waves', pooling: 'mean', dropout: 0.1 },
  ],
  [
    'transformer-first',
    'transformer',
    { width: 16, layers: 1, heads: 2, inner: 20, positions: 'learned', pooling: 'first', dropout: 0 },
  ],
]

export const madeClassifiers = (): Promise<MadeClassifier[]> =>
  Promise.all(variants.map(([name, family, options]) => madeClassifier(name, family, options)))

async function madeClassifier(
  name: string,
  familyName: keyof typeof families,
  options: Options,
): Promise<MadeClassifier> {
  async function* texts() {
    yield 'the quick brown fox jumps over the lazy dog 今天天气很好，我们去公园散步'
  }
  const normalise = { unicode: 'NFKC', lowercase: true } as const
  const config = { normalise, tokenizer: 'character', vocabulary: 100, minimumCount: 1, maxLength: 24 } as const
  const pipeline = await TextPipeline.train(texts(), config)
  const family = families[familyName] as TextFamily
  const labels = ['bad', 'good', 'none']
  const shape = { vocabulary: pipeline.vocabularySize, classes: labels.length, maxLength: config.maxLength, ...options }
  const { parameters } = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const target = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, shape), target)
  })
  const weights = Object.fromEntries(
    parameters.map(({ name: path, dims }, k) => {
      const centre = path.endsWith('scale') ? 1 : 0
      const length = dims.reduce((a, b) => a * b, 1)
      return [path, { data: Float32Array.from({ length }, (_, i) => centre + Math.sin(i * 0.7 + k) * 0.4) }]
    }),
  )
  const model = inferenceGraph(family, shape, weights)
  const manifest: Manifest = {
    format: 'athanor-bundle',
    formatVersion: 1,
    task: 'text-classification',
    family: familyName,
    signature: signatureOf(model),
    labels,
    pipeline: pipeline.config as unknown as Record<string, unknown>,
    parameters: 1000,
    metrics: {},
    lineage: { code: 'test', options },
    createdAt: new Date(0).toISOString(),
  }
  return { name, model, manifest, tokenizer: pipeline.tokenizerJson }
}

/** Rows of ids of different lengths, padded at the end with 0: for comparing what readers of an export compute. */
export function madeRows(vocabulary: number, rows = 5, time = 11): { ids: number[][]; lengths: number[] } {
  const lengths = Array.from({ length: rows }, (_, r) => time - ((r * 3) % time))
  const ids = lengths.map((length, r) =>
    Array.from({ length: time }, (_, t) => (t < length ? 1 + ((r * 7 + t * 5) % (vocabulary - 1)) : 0)),
  )
  return { ids, lengths }
}
