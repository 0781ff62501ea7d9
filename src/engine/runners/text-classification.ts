import { outputOf } from '../../base/problem.ts'
import { type PipelineConfig, TextPipeline } from '../../data/pipeline.ts'
import { scriptOf } from '../../drift/features.ts'
import { Sketch } from '../../drift/sketch.ts'
import { Lanes } from '../lanes/lanes.ts'
import type { OpenRunner } from '../runner.ts'
import { textFeeds, textRunner } from '../texts.ts'

/** Graphs of `ids` and `lengths` that give `probabilities`, or `values` where they give a number. */
export const textClassificationRunner: OpenRunner = async (manifest, read, options) => {
  const { tokenBudget, onWindow } = options
  const lanes = await Lanes.open(read, options)
  const json = Buffer.from(read('tokenizer.json')).toString('utf8')
  const pipeline = TextPipeline.load(manifest.pipeline as unknown as PipelineConfig, json)
  const classes = manifest.labels.length
  const scored = pipeline.config.pairs === true
  const output = scored ? 'logits' : outputOf[manifest.problem ?? 'classification']
  const sketch = onWindow && manifest.reference && Sketch.ofTexts(manifest.reference)
  return textRunner<{ ids: Int32Array; script: number }, Float32Array>(
    {
      encode: async (texts, pairs) =>
        (await pipeline.encode(texts, pairs)).map((ids, i) => ({ ids, script: sketch ? scriptOf(texts[i]) : 0 })),
      async infer(batch, alone) {
        const values = (await lanes.run(textFeeds(batch), [output], alone))[output].data as Float32Array
        return batch.map((_, row) => values.subarray(row * classes, (row + 1) * classes))
      },
      observe({ ids, script }, scores) {
        const window = sketch?.add({ ids, script, probabilities: scored ? scores.map(sigmoid) : scores })
        if (window) onWindow?.(window)
      },
      answer(results, { raw }) {
        const probabilities = new Float32Array(results.length * classes)
        results.forEach((scores, row) => {
          probabilities.set(scored && !raw ? scores.map(sigmoid) : scores, row * classes)
        })
        return { kind: 'texts', probabilities }
      },
    },
    tokenBudget,
    lanes,
  )
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
