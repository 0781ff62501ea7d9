import type { Manifest } from '../bundle/manifest.ts'
import { type ImagePipelineConfig, planesOf } from '../data/images/pixels.ts'
import { imageMeasures } from '../drift/measures.ts'
import { measuredReference, type Reference, vectorReference } from '../drift/reference.ts'
import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import { classifierReference } from '../train/reference.ts'
import type { Example } from './examples/example.ts'
import { feedsFor, ortFeeds, pipelineOf } from './inputs.ts'
import type { Subject } from './subject.ts'

type ReferenceOf = (subject: Subject, rows: readonly Example[], threads: number) => Promise<Reference | undefined>

/** How a refined version of a task comes to its reference; tasks without a view of drift have none. */
const references: Partial<Record<Manifest['task'], ReferenceOf>> = {
  'text-classification': async (subject, rows, threads) => {
    const { manifest, model, files } = subject
    if (!files['tokenizer.json']) return undefined
    return classifierReference(writeModel(model), pipelineOf(subject), manifest.labels, rows, threads)
  },
  async 'image-classification'(subject, rows, threads) {
    const { labels, pipeline } = subject.manifest
    const { channels } = pipeline as unknown as ImagePipelineConfig
    const scores = await answers(subject, 'probabilities', rows, threads)
    return measuredReference(
      rows.map(({ image, label }, row) => ({
        measures: image && !(image instanceof Uint8Array) ? imageMeasures(planesOf(image), channels) : {},
        probabilities: scores[row],
        right: labels[scores[row].indexOf(Math.max(...scores[row]))] === label,
      })),
    )
  },
  'feature-extraction': async (subject, rows, threads) =>
    vectorReference(await answers(subject, 'embeddings', rows, threads)),
}

/** What held-out rows look like to a refined version: it is not certain of the same ones as its source. */
export const referenceOf: ReferenceOf = async (subject, rows, threads) =>
  references[subject.manifest.task]?.(subject, rows, threads)

/** An output's numbers for each row. */
async function answers(
  subject: Subject,
  output: string,
  rows: readonly Example[],
  threads: number,
): Promise<Float32Array[]> {
  const session = await openSession(writeModel(subject.model), threads)
  const found: Float32Array[] = []
  try {
    for (const feeds of await feedsFor(subject, rows)) {
      const data = (await session.run(ortFeeds(feeds), [output]))[output].data as Float32Array
      const width = data.length / feeds.rows.length
      feeds.rows.forEach((row, r) => {
        found[row] = data.subarray(r * width, (r + 1) * width)
      })
    }
  } finally {
    await session.release()
  }
  return found
}
