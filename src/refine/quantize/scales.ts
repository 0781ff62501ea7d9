/** A matrix as signed integers with a scale for each of its channels. */
export interface Quantized {
  readonly values: Int8Array
  readonly scales: Float32Array
}

/**
 * Symmetric int8 with one scale a channel: value ≈ integer · scale. `channelOf` tells the channel of each element; `limit`
 * is the largest magnitude used: 127, or 63 where the CPU's products of 8 bits overflow 16 (AVX2 without VNNI).
 */
export function quantizeChannels(
  data: Float32Array,
  channels: number,
  channelOf: (index: number) => number,
  limit: number,
): Quantized {
  const scales = new Float32Array(channels)
  for (let i = 0; i < data.length; i++) {
    const c = channelOf(i)
    scales[c] = Math.max(scales[c], Math.abs(data[i]))
  }
  for (let c = 0; c < channels; c++) scales[c] = scales[c] === 0 ? 1 : scales[c] / limit
  const values = new Int8Array(data.length)
  for (let i = 0; i < data.length; i++)
    values[i] = Math.max(-limit, Math.min(limit, Math.round(data[i] / scales[channelOf(i)])))
  return { values, scales }
}

/** Rows of a matrix become columns: (rows, columns) → (columns, rows). */
export function transposed<T extends Float32Array | Int8Array>(data: T, rows: number, columns: number): T {
  const result = new (data.constructor as new (length: number) => T)(data.length)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = data[i * columns + j]
  return result
}

/**
 * Unsigned integers of 4 or 8 bits in blocks along the rows of (columns, rows), in the layout of MatMulNBits: packed (N,
 * blocks, block · bits / 8), the lower half of a byte first, and a scale a block; zero is at half of the range. The scale's
 * sign lets the largest magnitude of a block use the one integer more that lies on the negative side.
 */
export function quantizeBlocks(data: Float32Array, rows: number, columns: number, block: number, bits: 4 | 8) {
  const blocks = Math.ceil(rows / block)
  const half = 2 ** (bits - 1)
  const bytes = (block * bits) / 8
  const packed = new Uint8Array(columns * blocks * bytes)
  const scales = new Float32Array(columns * blocks)
  for (let n = 0; n < columns; n++) {
    for (let b = 0; b < blocks; b++) {
      const [start, end] = [b * block, Math.min(rows, (b + 1) * block)]
      let extreme = 0
      for (let k = start; k < end; k++) {
        const value = data[n * rows + k]
        // of two that lie as far from zero, as clipping leaves them, the positive one, as in training
        if (Math.abs(value) > Math.abs(extreme) || (value > 0 && value === -extreme)) extreme = value
      }
      const scale = extreme === 0 ? 1 : extreme / -half
      scales[n * blocks + b] = scale
      const at = (n * blocks + b) * bytes
      for (let k = start; k < start + block; k++) {
        const value = k < end ? Math.round(data[n * rows + k] / scale) : 0
        const q = Math.max(0, Math.min(2 * half - 1, value + half))
        const i = k - start
        if (bits === 8) packed[at + i] = q
        else packed[at + (i >> 1)] |= q << (4 * (i & 1))
      }
    }
  }
  return { packed, scales, blocks, bytes }
}
