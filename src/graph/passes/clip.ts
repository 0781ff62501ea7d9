import { Edit } from '../edit.ts'
import type { ModelProto } from '../gen/onnx_pb.js'
import { float32 } from '../tensor.ts'

/**
 * Clips each weight of two or more axes to the given percentile of its magnitudes (0 to 100), so that a few outliers no
 * longer stretch the range that a quantizer must cover. Returns how many numbers changed as well.
 */
export function clipWeights(model: ModelProto, percentile: number): { model: ModelProto; clipped: number } {
  const edit = new Edit(model)
  let clipped = 0
  for (const { name } of [...edit.graph.initializer]) {
    const dims = edit.dims(name)
    const weight = dims && dims.length >= 2 ? edit.tensor(name)! : undefined
    if (weight?.dtype !== 'float32') continue
    const values = weight.data as Float32Array
    const bound = percentileOf(values.map(Math.abs), percentile)
    if (bound === 0 || !values.some((value) => Math.abs(value) > bound)) continue
    edit.restore(
      name,
      float32(
        weight.dims,
        values.map((value) => {
          if (Math.abs(value) > bound) clipped++
          return Math.min(bound, Math.max(-bound, value))
        }),
      ),
    )
  }
  return { model: edit.finish(), clipped }
}

/** The value below which `percentile` of 100 of the numbers lie, by the nearest rank; sorts what it is given. */
export function percentileOf(values: Float32Array, percentile: number): number {
  values.sort()
  return values[Math.min(values.length - 1, Math.max(0, Math.ceil((percentile / 100) * values.length) - 1))]
}
