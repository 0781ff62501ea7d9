import { PublishedTokenizer, type Spans } from '../../data/published.ts'
import { Sketch } from '../../drift/sketch.ts'
import { entitiesOf, labelNumbers, readOf } from '../entities.ts'
import { Lanes } from '../lanes/lanes.ts'
import type { Entity } from '../messages.ts'
import type { OpenRunner } from '../runner.ts'
import { textFeeds, textRunner } from '../texts.ts'

/** Graphs of `ids` and `lengths` that give `probabilities` (batch, time, classes). */
export const tokenClassificationRunner: OpenRunner = async (manifest, read, options) => {
  const { tokenBudget, onWindow } = options
  const lanes = await Lanes.open(read, options)
  const json = Buffer.from(read('tokenizer.json')).toString('utf8')
  const tokenizer = new PublishedTokenizer(json, { maxLength: Number(manifest.pipeline?.maxLength) })
  const { labels } = manifest
  const sketch = onWindow && manifest.reference && Sketch.ofRead(manifest.reference)
  const numbers = labelNumbers(labels)
  return textRunner<Spans & { text: string }, Entity[]>(
    {
      encode: async (texts) => (await tokenizer.spans(texts)).map((spans, i) => ({ ...spans, text: texts[i] })),
      async infer(batch, alone) {
        const { probabilities } = await lanes.run(textFeeds(batch), ['probabilities'], alone)
        const values = probabilities.data as Float32Array
        const [, time, classes] = probabilities.dims
        return batch.map((row, r) => {
          const at = r * time * classes
          return entitiesOf(row, values.subarray(at, at + row.ids.length * classes), labels)
        })
      },
      observe(row, entities) {
        const window = sketch?.add(readOf(row, entities, numbers))
        if (window) onWindow?.(window)
      },
      answer: (results) => ({ kind: 'entities', entities: [...results] }),
    },
    tokenBudget,
    lanes,
  )
}
