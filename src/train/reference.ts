import ort from '../base/onnxruntime.ts'
import type { TextPipeline } from '../data/pipeline.ts'
import type { Sample } from '../data/samples.ts'
import { type Observed, scriptOf } from '../drift/features.ts'
import { type Reference, referenceOf } from '../drift/reference.ts'
import { openMeasured } from './opened.ts'

/** Rows run at once. */
const AT_ONCE = 32

/** What held-out rows look like to a text classifier; undefined when they are too few. */
export async function classifierReference(
  model: Uint8Array,
  pipeline: TextPipeline,
  labels: readonly string[],
  samples: readonly Sample[],
  threads: number,
): Promise<Reference | undefined> {
  const session = await openMeasured(model, threads)
  try {
    const rows: (Observed & { right: boolean })[] = []
    for (let start = 0; start < samples.length; start += AT_ONCE) {
      const part = samples.slice(start, start + AT_ONCE)
      const encoded = await pipeline.encode(part.map(({ text }) => text))
      const probabilities = await run(session, encoded)
      part.forEach(({ text, label }, i) => {
        const scores = probabilities.subarray(i * labels.length, (i + 1) * labels.length)
        const right = labels[scores.indexOf(Math.max(...scores))] === label
        rows.push({ ids: encoded[i], script: scriptOf(text), probabilities: scores, right })
      })
    }
    return referenceOf(rows)
  } finally {
    await session.release()
  }
}

/** Probabilities (rows, classes) of token ids, padded to the longest. */
async function run(session: ort.InferenceSession, rows: readonly Int32Array[]): Promise<Float32Array> {
  const time = Math.max(...rows.map(({ length }) => length))
  const ids = new BigInt64Array(rows.length * time)
  rows.forEach((row, r) => {
    row.forEach((id, t) => {
      ids[r * time + t] = BigInt(id)
    })
  })
  const { probabilities } = await session.run({
    ids: new ort.Tensor('int64', ids, [rows.length, time]),
    lengths: new ort.Tensor(
      'int64',
      BigInt64Array.from(rows, ({ length }) => BigInt(length)),
      [rows.length],
    ),
  })
  return probabilities.data as Float32Array
}
