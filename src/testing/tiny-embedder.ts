import type { Manifest } from '../bundle/manifest.ts'
import { TextPipeline } from '../data/pipeline.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { plainManifest } from './manifest.ts'

const WIDTH = 8

/** A model of texts as vectors: the mean of made-up vectors of their characters. `embed` computes the same beside it. */
export async function tinyEmbedder() {
  async function* texts() {
    yield 'the quick brown fox jumps over the lazy dog 今天天气很好，我们去公园散步'
  }
  const pipeline = await TextPipeline.train(texts(), {
    normalise: { unicode: 'NFKC', lowercase: true },
    tokenizer: 'character',
    vocabulary: 100,
    minimumCount: 1,
    maxLength: 64,
  })
  // the row of padding is nothing, so that a sum passes it over
  const table = Float32Array.from({ length: pipeline.vocabularySize * WIDTH }, (_, i) =>
    i < WIDTH ? 0 : Math.sin(i * 1.7),
  )
  const g = new GraphBuilder()
  const ids = g.input('ids', 'int64', ['batch', 'time'])
  const lengths = g.input('lengths', 'int64', ['batch'])
  const rows = o.gather(g.constant({ dtype: 'float32', dims: [pipeline.vocabularySize, WIDTH], data: table }), ids)
  const sums = o.reduceSum(rows, [1])
  g.output(o.div(sums, o.unsqueeze(o.cast(lengths, 'float32'), [1])), 'embeddings')
  const model = g.build()
  const manifest: Manifest = {
    ...plainManifest,
    task: 'feature-extraction',
    family: 'tiny',
    signature: signatureOf(model),
    labels: [],
    pipeline: pipeline.config as unknown as Record<string, unknown>,
    parameters: table.length,
  }
  return {
    manifest,
    files: { 'model.onnx': writeModel(model), 'tokenizer.json': Buffer.from(pipeline.tokenizerJson) },
    width: WIDTH,
    async embed(text: string): Promise<number[]> {
      const [tokens] = await pipeline.encode([text])
      return Array.from({ length: WIDTH }, (_, i) => {
        let sum = 0
        for (const token of tokens) sum += table[token * WIDTH + i]
        return sum / tokens.length
      })
    },
  }
}
