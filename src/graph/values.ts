import { fail } from '../base/errors.ts'
import { type DataType, dataTypes, elements, type Tensor, type TypedArray } from './dtype.ts'

const ELEMENT_LIMIT = 2 ** 24

/** How many elements a shape asks for; throws TENSOR_INVALID beyond what one request may hold. */
export function countOf(shape: readonly number[], where: string, model: string): number {
  let count = ELEMENT_LIMIT + 1
  try {
    count = elements(shape)
  } catch {
    // negative or beyond counting: refused below
  }
  if (count > ELEMENT_LIMIT) {
    throw fail('TENSOR_INVALID', {
      message: `${where}.shape: [${shape.slice(0, 8)}] is not a shape of at most ${ELEMENT_LIMIT} elements`,
      model,
    })
  }
  return count
}

/**
 * A tensor from JSON: `data` nested or flat in row-major order, 64-bit integers as text where a number would not be exact.
 * Throws TENSOR_INVALID naming the place.
 */
export function flattenNumbers(
  data: unknown,
  shape: readonly number[],
  dtype: DataType,
  where: string,
  model: string,
): Tensor {
  const invalid = (message: string) => fail('TENSOR_INVALID', { message, model })
  const count = countOf(shape, where, model)
  const flat = (data as unknown[]).flat(Math.max(1, shape.length)) as unknown[]
  if (flat.length !== count)
    throw invalid(`${where}.data: expected ${count} elements for shape [${shape}], got ${flat.length}`)
  if (dtype === 'string') {
    flat.forEach((value, i) => {
      if (typeof value !== 'string')
        throw invalid(`${where}.data[${i}]: expected a string, got ${JSON.stringify(value)?.slice(0, 40)}`)
    })
    return { dtype, dims: shape, data: flat as string[] }
  }
  const { array } = dataTypes[dtype]
  if (dtype === 'float16' || dtype === 'bfloat16') throw invalid(`${where}: ${dtype} must be sent as binary data`)
  const result = new array!(count) as TypedArray
  const big = dtype === 'int64' || dtype === 'uint64'
  const whole = dtype !== 'float32' && dtype !== 'float64'
  const put = (i: number, value: bigint) => {
    ;(result as BigInt64Array)[i] = value
    if ((result as BigInt64Array)[i] !== value) throw invalid(`${where}.data[${i}]: ${value} does not fit ${dtype}`)
  }
  for (let i = 0; i < count; i++) {
    const value = flat[i] === true ? 1 : flat[i] === false ? 0 : flat[i]
    if (big && typeof value === 'string' && /^-?\d{1,20}$/.test(value)) {
      put(i, BigInt(value))
      continue
    }
    if (typeof value !== 'number' || (whole && !Number.isInteger(value))) {
      throw invalid(
        `${where}.data[${i}]: expected ${whole ? 'a whole number' : 'a number'}, got ${JSON.stringify(flat[i])?.slice(0, 40)}`,
      )
    }
    if (big) {
      if (!Number.isSafeInteger(value))
        throw invalid(`${where}.data[${i}]: ${value} is not exact in JSON; send it as text, or as binary data`)
      put(i, BigInt(value))
    } else {
      ;(result as Float32Array)[i] = value
      if (whole && (result as Int32Array)[i] !== value)
        throw invalid(`${where}.data[${i}]: ${value} does not fit ${dtype}`)
    }
  }
  return { dtype, dims: shape, data: result }
}

/** A tensor's elements as JSON values; 64-bit integers as numbers where they are exact, as text beyond. */
export function toValues({ dtype, data }: Tensor): unknown[] {
  if (dtype === 'bool') return Array.from(data as Uint8Array, (value) => value !== 0)
  if (dtype === 'int64' || dtype === 'uint64') {
    return Array.from(data as BigInt64Array, (value) =>
      Number.isSafeInteger(Number(value)) ? Number(value) : String(value),
    )
  }
  return Array.from(data as Float32Array)
}
