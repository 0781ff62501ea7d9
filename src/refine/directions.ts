import { random } from '../base/random.ts'
import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { feedsOf } from '../train/assemble.ts'
import type { Batch } from '../train/batch.ts'
import { evaluationBatches } from '../train/batches.ts'
import { padded, whole } from '../train/encoders/network.ts'

/** Texts as token ids, and a direction for each: vectors (texts, width) of length 1, or drawn ones. */
export interface Directed {
  readonly ids: readonly Int32Array[]
  readonly vectors: Float32Array
  readonly padding: number
}

const AT_ONCE = 32

/** Row numbers in batches of like lengths. */
export const directedBatches = ({ ids }: Pick<Directed, 'ids'>): Int32Array[] =>
  evaluationBatches({ rows: ids.length, length: (row) => ids[row].length }, AT_ONCE)

/** Some of the texts as `ids`, `lengths` and `directions`. */
export function directedBatch({ ids, vectors, padding }: Directed, rows: Int32Array): Batch {
  const width = vectors.length / ids.length
  const picked = Array.from(rows, (row) => ids[row])
  const { time, tensor } = padded(picked, padding)
  const data = new Float32Array(rows.length * width)
  rows.forEach((row, r) => {
    data.set(vectors.subarray(row * width, (row + 1) * width), r * width)
  })
  return {
    tensors: {
      ids: tensor,
      lengths: whole(
        [rows.length],
        picked.map(({ length }) => length),
      ),
      directions: { type: 'float32', dims: [rows.length, width], data },
    },
    rows: rows.length,
    sizes: { time },
  }
}

/** The vectors of length 1 that an encoder's graph makes of texts, its output `embeddings`. */
export async function pointed(
  model: ModelProto,
  ids: readonly Int32Array[],
  padding: number,
  threads: number,
): Promise<Directed> {
  const session = await openSession(writeModel(model), threads)
  let vectors = new Float32Array(0)
  try {
    for (const rows of directedBatches({ ids })) {
      const batch = directedBatch({ ids, vectors: new Float32Array(ids.length), padding }, rows)
      const { embeddings } = await session.run(feedsOf(batch, ['ids', 'lengths']))
      const width = embeddings.dims[1]
      if (vectors.length === 0) vectors = new Float32Array(ids.length * width)
      rows.forEach((row, r) => {
        vectors.set((embeddings.data as Float32Array).subarray(r * width, (r + 1) * width), row * width)
      })
    }
  } finally {
    await session.release()
  }
  return { ids, vectors, padding }
}

/** Directions drawn by a seed, of length 1 on the average. */
export function drawnDirections(ids: readonly Int32Array[], width: number, padding: number): Directed {
  const next = random(1)
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
  const scale = 1 / Math.sqrt(width)
  return { ids, padding, vectors: Float32Array.from({ length: ids.length * width }, () => normal() * scale) }
}
