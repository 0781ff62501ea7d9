import { type PipelineConfig, TextPipeline } from '../../data/pipeline.ts'
import { vectorMeasures } from '../../drift/measures.ts'
import { Sketch } from '../../drift/sketch.ts'
import { Lanes } from '../lanes/lanes.ts'
import type { OpenRunner } from '../runner.ts'
import { textFeeds, textRunner } from '../texts.ts'
import { checkIds } from '../token-ids.ts'

/** Graphs of `ids` and `lengths` that give `embeddings` (batch, width). */
export const featureExtractionRunner: OpenRunner = async (manifest, read, options) => {
  const { tokenBudget, onWindow } = options
  const lanes = await Lanes.open(read, options)
  const json = Buffer.from(read('tokenizer.json')).toString('utf8')
  const pipeline = TextPipeline.load(manifest.pipeline as unknown as PipelineConfig, json)
  const centroid = manifest.reference?.centroid
  const sketch = onWindow && centroid && manifest.reference && Sketch.ofMeasures(manifest.reference)
  return textRunner<{ ids: Int32Array }, { vector: Float32Array; tokens: number }>(
    {
      encode: async (texts) => (await pipeline.encode(texts)).map((ids) => ({ ids })),
      fromIds(ids) {
        checkIds(ids, pipeline.vocabularySize)
        return { ids: Int32Array.from(ids.slice(0, pipeline.config.maxLength)) }
      },
      async infer(batch, alone) {
        const { embeddings } = await lanes.run(textFeeds(batch), ['embeddings'], alone)
        const [, width] = embeddings.dims
        const values = embeddings.data as Float32Array
        return batch.map(({ ids }, row) => ({
          vector: values.subarray(row * width, (row + 1) * width),
          tokens: ids.length,
        }))
      },
      observe(_row, { vector }) {
        const window = sketch?.add({ measures: vectorMeasures(vector, centroid!) })
        if (window) onWindow?.(window)
      },
      answer(results) {
        const width = results[0]?.vector.length ?? 0
        const vectors = new Float32Array(results.length * width)
        results.forEach(({ vector }, row) => {
          vectors.set(vector, row * width)
        })
        return { kind: 'vectors', vectors, width, tokens: results.reduce((sum, { tokens }) => sum + tokens, 0) }
      },
    },
    tokenBudget,
    lanes,
  )
}
