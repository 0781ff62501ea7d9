import ort from '../base/onnxruntime.ts'

/** Size of one layer's keys or values: heads and elements a head. */
export interface CacheShape {
  readonly heads: number
  readonly size: number
}

/**
 * Keys and values of the texts of a running batch, tensors (rows, heads, length, size). Texts stand at the right: row r
 * is valid from `starts[r]` to `length`, what stands before is padding that the attention mask hides.
 */
export interface Cache {
  readonly rows: number
  readonly length: number
  readonly starts: readonly number[]
  readonly tensors: readonly Float32Array[]
}

export const emptyCache = (rows: number, starts: readonly number[], shapes: readonly CacheShape[]): Cache => ({
  rows,
  length: 0,
  starts,
  tensors: shapes.map(() => new Float32Array()),
})

export const cacheTensor = (cache: Cache, index: number, { heads, size }: CacheShape) =>
  new ort.Tensor('float32', cache.tensors[index], [cache.rows, heads, cache.length, size])

/** The rows of several caches under one another, each `[cache, row]`, without padding that no row needs. */
export function gatherRows(picked: readonly (readonly [Cache, number])[], shapes: readonly CacheShape[]): Cache {
  const valid = picked.map(([cache, row]) => cache.length - cache.starts[row])
  const length = Math.max(0, ...valid)
  const tensors = shapes.map(({ heads, size }, index) => {
    const target = new Float32Array(picked.length * heads * length * size)
    picked.forEach(([cache, row], r) => {
      const source = cache.tensors[index]
      for (let head = 0; head < heads; head++) {
        const from = ((row * heads + head) * cache.length + cache.starts[row]) * size
        const to = ((r * heads + head) * length + length - valid[r]) * size
        target.set(source.subarray(from, from + valid[r] * size), to)
      }
    })
    return target
  })
  return { rows: picked.length, length, starts: valid.map((count) => length - count), tensors }
}
