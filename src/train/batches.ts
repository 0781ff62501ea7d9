import { random, shuffle } from '../base/random.ts'

/** What batching needs to know of a split: how many rows, and how many tokens each has. */
export interface Lengths {
  readonly rows: number
  length(row: number): number
}

/**
 * The batches of one epoch as arrays of row numbers: shuffled by (seed, epoch) alone, so that a resumed run meets the
 * same batches. Rows of similar length share a batch (sorted within pools of `pool` batches), then batches are shuffled.
 */
export function epochBatches(split: Lengths, batchSize: number, seed: number, epoch: number, pool = 32): Int32Array[] {
  const next = random((Math.imul(seed, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b)) >>> 0)
  const order = shuffle(
    Array.from({ length: split.rows }, (_, i) => i),
    next,
  )
  const batches: Int32Array[] = []
  for (let start = 0; start < order.length; start += pool * batchSize) {
    const rows = order.slice(start, start + pool * batchSize).sort((a, b) => split.length(a) - split.length(b) || a - b)
    for (let i = 0; i < rows.length; i += batchSize) batches.push(Int32Array.from(rows.slice(i, i + batchSize)))
  }
  return shuffle(batches, next)
}

/** The batches of an evaluation: all rows once, longest first, so that memory is at its largest at once. */
export function evaluationBatches(split: Lengths, batchSize: number): Int32Array[] {
  const order = Array.from({ length: split.rows }, (_, i) => i).sort(
    (a, b) => split.length(b) - split.length(a) || a - b,
  )
  const batches: Int32Array[] = []
  for (let i = 0; i < order.length; i += batchSize) batches.push(Int32Array.from(order.slice(i, i + batchSize)))
  return batches
}
