import ort from '../base/onnxruntime.ts'
import type { EncodedSplit } from '../data/encoded.ts'
import type { Batch, BatchTensor } from './batch.ts'

/** How to cut a random window out of a text: start and length for a row of the given length. */
export type Window = (row: number, length: number) => { start: number; length: number }

/**
 * The rows of a split as one padded batch: ids (batch, time), lengths (batch), and labels as given. Time is rounded up to
 * a multiple of 8, so that few shapes occur.
 */
export function assemble(split: EncodedSplit, rows: Int32Array, labels: BatchTensor, window?: Window): Batch {
  const parts = Array.from(rows, (row) => {
    const ids = split.ids(row)
    if (!window) return ids
    const { start, length } = window(row, ids.length)
    return ids.subarray(start, start + length)
  })
  const longest = parts.reduce((most, { length }) => Math.max(most, length), 1)
  const time = Math.ceil(longest / 8) * 8
  const ids = new BigInt64Array(rows.length * time)
  parts.forEach((part, r) => {
    for (let t = 0; t < part.length; t++) ids[r * time + t] = BigInt(part[t])
  })
  const tensor = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const
  return {
    tensors: {
      ids: tensor([rows.length, time], ids),
      lengths: tensor(
        [rows.length],
        BigInt64Array.from(parts, ({ length }) => BigInt(length)),
      ),
      labels,
    },
    rows: rows.length,
    sizes: { time },
    tokens: parts.reduce((sum, { length }) => sum + length, 0),
  }
}

/** Those of a batch's tensors that a served graph takes. */
export const feedsOf = ({ tensors }: Batch, names: readonly string[]): Record<string, ort.Tensor> =>
  Object.fromEntries(
    names.map((name) => {
      const { type, dims, data } = tensors[name]
      return [name, new ort.Tensor(type as 'float32', data as Float32Array, dims)]
    }),
  )
