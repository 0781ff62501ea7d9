import type { EncodedSplit } from '../data/encoded.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { classifierInputs } from '../nn/families.ts'
import type { ClassifierConfig, Counted } from '../nn/family.ts'
import { assemble, feedsOf } from './assemble.ts'
import { evaluationBatches } from './batches.ts'
import { openMeasured } from './opened.ts'

/** Texts that a feature must occur in to count at all. */
const LEAST = 2

/**
 * Smoothed inverse document frequencies (Spärck Jones 1972) of a family's features over the texts of a split, found by the
 * graph that finds them in training; 0 for those of fewer than two texts.
 */
export async function raritiesOf(
  split: EncodedSplit,
  { size, features }: Counted,
  config: ClassifierConfig,
  threads: number,
): Promise<Float32Array> {
  const graph = new GraphBuilder()
  const { ids, lengths } = classifierInputs(graph)
  const { grams, valid } = o.within(graph, () => features(ids, lengths, config))
  graph.output(grams, 'grams')
  graph.output(
    o.within(graph, () => o.cast(valid, 'uint8')),
    'valid',
  )
  const session = await openMeasured(writeModel(graph.build()), threads)
  const texts = new Int32Array(size)
  const latest = new Int32Array(size)
  const labels = { type: 'int64', dims: [0], data: new BigInt64Array() } as const
  let text = 0
  try {
    for (const rows of evaluationBatches(split, 128)) {
      const found = await session.run(feedsOf(assemble(split, rows, labels), ['ids', 'lengths']))
      const [each, is] = [found.grams.data as BigInt64Array, found.valid.data as Uint8Array]
      const perText = each.length / rows.length
      for (let i = 0; i < each.length; i++) {
        if (i % perText === 0) text++
        const feature = Number(each[i])
        if (is[i] === 0 || latest[feature] === text) continue
        latest[feature] = text
        texts[feature]++
      }
    }
  } finally {
    await session.release()
  }
  return Float32Array.from(texts, (count) => (count < LEAST ? 0 : Math.log((1 + split.rows) / (1 + count)) + 1))
}
