import type { Manifest } from '../bundle/manifest.ts'
import { TextPipeline } from '../data/pipeline.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { families, inferenceGraph } from '../nn/families.ts'
import { plainManifest } from './manifest.ts'

/** A small LSTM classifier with made-up weights, as a bundle: for tests and benches that do not train. */
export async function tinyClassifier({ hidden = 8, width = 8, labels = ['a', 'b', 'c'] } = {}) {
  async function* texts() {
    yield 'the quick brown fox jumps over the lazy dog 今天天气很好，我们去公园散步'
  }
  const normalise = { unicode: 'NFKC', lowercase: true } as const
  const pipeline = await TextPipeline.train(texts(), {
    normalise,
    tokenizer: 'character',
    vocabulary: 100,
    minimumCount: 1,
    maxLength: 160,
  })
  const config = {
    vocabulary: pipeline.vocabularySize,
    classes: labels.length,
    width,
    hidden,
    layers: 1,
    bidirectional: false,
    dropout: 0,
    pooling: 'mean',
  }
  const weights = new Proxy<Record<string, { data: Float32Array }>>(
    {},
    { get: (_, name: string) => ({ data: made(sizes(name, config)) }) },
  )
  const model = inferenceGraph(families.lstm, config, weights)
  const manifest: Manifest = {
    ...plainManifest,
    task: 'text-classification',
    family: 'lstm',
    signature: signatureOf(model),
    labels: [...labels],
    pipeline: pipeline.config as unknown as Record<string, unknown>,
    parameters: 1000,
  }
  return { manifest, files: { 'model.onnx': writeModel(model), 'tokenizer.json': Buffer.from(pipeline.tokenizerJson) } }
}

function sizes(
  name: string,
  { vocabulary, width, hidden, classes }: { vocabulary: number; width: number; hidden: number; classes: number },
): number {
  return (
    {
      'embedding/weight': vocabulary * width,
      'lstm.0/W': 4 * hidden * width,
      'lstm.0/R': 4 * hidden * hidden,
      'lstm.0/B': 8 * hidden,
      'classifier/weight': classes * hidden,
      'classifier/bias': classes,
    }[name] ?? 0
  )
}
const made = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7 + length) * 0.4)

/** A plain graph: `y = x · 2 + n` for x float32 [rows, 3] and n int64 [1]. */
export function tinyGraph() {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['rows', 3])
  const n = g.input('n', 'int64', [1])
  g.output(o.add(o.mul(x, 2), o.cast(n, 'float32')), 'y')
  g.output(o.mul(n, 2), 'm')
  return writeModel(g.build())
}
