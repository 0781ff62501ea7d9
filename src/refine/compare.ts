import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { signatureOf } from '../graph/signature.ts'
import { type Feeds, ortFeeds } from './inputs.ts'

/** What a graph says of some batches: the numbers of its telling output, row by row. */
export interface Said {
  readonly rows: readonly Float32Array[]
  /** Whether the highest number of a row is its answer. */
  readonly choices: boolean
}

/** How far one graph's answers are from another's. */
export interface Difference {
  /** √(Σ difference² / Σ value²). */
  readonly error: number
  /** Share of rows with the same highest number; the mean cosine of rows that are no scores. */
  readonly agreement: number
}

/** Runs a graph; where it has logits these tell more than probabilities, otherwise its first output of floats tells. */
export async function runOn(model: ModelProto, feeds: readonly Feeds[], threads: number): Promise<Said> {
  const session = await openSession(writeModel(model), threads)
  try {
    const rows: Float32Array[] = []
    const name = telling(model)
    for (const batch of feeds) {
      const output = (await session.run(ortFeeds(batch), [name]))[name]
      const data = output.data as Float32Array
      const width = output.dims.at(-1) ?? 1
      // of a text that is written the last place tells enough: all of them would fill the memory
      const step = name === 'logits' && output.dims.length === 3 ? output.dims[1] * width : width
      for (let end = step; end <= data.length; end += step) rows.push(data.slice(end - width, end))
    }
    return { rows, choices: scores.has(name) }
  } finally {
    await session.release()
  }
}

const scores = new Set(['logits', 'probabilities'])

function telling(model: ModelProto): string {
  const { outputs } = signatureOf(model)
  const floats = outputs.filter(({ dtype }) => dtype === 'float32').map(({ name }) => name)
  return floats.includes('logits') ? 'logits' : (floats[0] ?? outputs[0].name)
}

export function difference(reference: Said, other: Said): Difference {
  let [wrong, size, alike] = [0, 0, 0]
  reference.rows.forEach((row, r) => {
    const second = other.rows[r]
    let [product, one, two, error] = [0, 0, 0, 0]
    for (let i = 0; i < row.length; i++) {
      error += (row[i] - second[i]) ** 2
      one += row[i] ** 2
      two += second[i] ** 2
      product += row[i] * second[i]
    }
    wrong += error
    size += one
    if (reference.choices) alike += highest(row) === highest(second) ? 1 : 0
    else alike += product / Math.max(Math.sqrt(one * two), 1e-30)
  })
  const count = Math.max(1, reference.rows.length)
  return { error: Math.sqrt(wrong / Math.max(size, 1e-30)), agreement: alike / count }
}

/** The place of a row's highest number. */
export function highest(row: Float32Array): number {
  let best = 0
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i
  return best
}
