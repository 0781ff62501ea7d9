import type { Manifest } from '../bundle/manifest.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { madeClassifier } from './classifiers.ts'

/** A classifier as an export sees it. */
export interface Variant {
  name: string
  model: ModelProto
  manifest: Manifest
  tokenizer: string
}

type Options = Record<string, number | string | boolean>

/** Small ones of every family and way of pooling, by name. */
const variants: [name: string, family: Parameters<typeof madeClassifier>[0], options: Options][] = [
  ['lstm', 'lstm', { width: 12, hidden: 10, layers: 1, bidirectional: false, pooling: 'last', dropout: 0.3 }],
  ['lstm-both', 'lstm', { width: 12, hidden: 6, layers: 2, bidirectional: true, pooling: 'max', dropout: 0 }],
  ['gru', 'gru', { width: 9, hidden: 7, layers: 2, bidirectional: true, pooling: 'mean', dropout: 0 }],
  ['gru-last', 'gru', { width: 9, hidden: 7, layers: 1, bidirectional: true, pooling: 'last', dropout: 0.5 }],
  ['rnn', 'rnn', { width: 8, hidden: 8, layers: 1, bidirectional: false, pooling: 'max', dropout: 0 }],
  ['rnn-mean', 'rnn', { width: 8, hidden: 5, layers: 2, bidirectional: true, pooling: 'mean', dropout: 0 }],
  ['rnn-last', 'rnn', { width: 8, hidden: 5, layers: 1, bidirectional: true, pooling: 'last', dropout: 0 }],
  ['textcnn', 'textcnn', { width: 12, filters: 8, narrowest: 1, windows: 3, dropout: 0.2 }],
  ['bow', 'bow', { width: 8, ngrams: 1, buckets: 50, dropout: 0, weighting: 'mean' }],
  ['bow-ngrams', 'bow', { width: 8, ngrams: 3, buckets: 50, dropout: 0 }],
  [
    'wide-ngrams',
    'wide',
    { width: 12, filters: 8, narrowest: 2, windows: 2, bagWidth: 6, ngrams: 2, buckets: 50, dropout: 0 },
  ],
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

export const madeVariants = (): Promise<Variant[]> =>
  Promise.all(
    variants.map(async ([name, family, options]) => {
      const { model, manifest, files } = await madeClassifier(family, options)
      return { name, model, manifest, tokenizer: files['tokenizer.json'].toString() }
    }),
  )

/** Rows of ids of different lengths, padded at the end with 0: for comparing what readers of an export compute. */
export function madeRows(vocabulary: number, rows = 5, time = 11): { ids: number[][]; lengths: number[] } {
  const lengths = Array.from({ length: rows }, (_, r) => time - ((r * 3) % time))
  const ids = lengths.map((length, r) =>
    Array.from({ length: time }, (_, t) => (t < length ? 1 + ((r * 7 + t * 5) % (vocabulary - 1)) : 0)),
  )
  return { ids, lengths }
}
