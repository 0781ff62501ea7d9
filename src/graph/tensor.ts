import { fail } from '../base/errors.ts'
import { type DataType, dataTypes, elements, type Tensor, type TypedArray } from './dtype.ts'

export { type DataType, dataTypeOf, dataTypes, elements, isDataType, type Tensor, type TypedArray } from './dtype.ts'

/** A tensor over the given data; throws MODEL_INVALID when data and shape disagree. */
export function tensor(dtype: DataType, dims: readonly number[], data: TypedArray | string[]): Tensor {
  if (elements(dims) !== data.length) {
    throw fail('MODEL_INVALID', { reason: `a tensor of shape [${dims}] cannot hold ${data.length} elements` })
  }
  return { dtype, dims, data }
}

export const float32 = (dims: readonly number[], data: ArrayLike<number>) =>
  tensor('float32', dims, data instanceof Float32Array ? data : Float32Array.from(data))

export const int64 = (dims: readonly number[], data: readonly number[]) =>
  tensor('int64', dims, BigInt64Array.from(data, BigInt))

/** A tensor of the given type holding numbers, e.g. for constants made by rules. */
export function fromNumbers(dtype: DataType, dims: readonly number[], values: readonly number[]): Tensor {
  const { array } = dataTypes[dtype]
  if (!array) return tensor(dtype, dims, values.map(String))
  if (dtype === 'int64' || dtype === 'uint64') {
    return tensor(
      dtype,
      dims,
      (array as typeof BigInt64Array).from(values, (value) => BigInt(value)),
    )
  }
  return tensor(dtype, dims, (array as typeof Float32Array).from(values))
}

/** Elements as numbers (64-bit integers may lose precision beyond 2^53). */
export const numbers = ({ data }: Tensor): number[] => Array.from(data as Iterable<number | bigint | string>, Number)
