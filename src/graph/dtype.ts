import { fail } from '../base/errors.ts'

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

/**
 * Element types: the number in TensorProto.DataType, bytes an element, array type in memory, and the name in the Open
 * Inference Protocol. Half floats are held as their bits. onnxruntime uses these same names.
 */
export const dataTypes = {
  float32: { onnx: 1, bytes: 4, array: Float32Array, oip: 'FP32' },
  uint8: { onnx: 2, bytes: 1, array: Uint8Array, oip: 'UINT8' },
  int8: { onnx: 3, bytes: 1, array: Int8Array, oip: 'INT8' },
  uint16: { onnx: 4, bytes: 2, array: Uint16Array, oip: 'UINT16' },
  int16: { onnx: 5, bytes: 2, array: Int16Array, oip: 'INT16' },
  int32: { onnx: 6, bytes: 4, array: Int32Array, oip: 'INT32' },
  int64: { onnx: 7, bytes: 8, array: BigInt64Array, oip: 'INT64' },
  string: { onnx: 8, bytes: 0, array: undefined, oip: 'BYTES' },
  bool: { onnx: 9, bytes: 1, array: Uint8Array, oip: 'BOOL' },
  float16: { onnx: 10, bytes: 2, array: Uint16Array, oip: 'FP16' },
  float64: { onnx: 11, bytes: 8, array: Float64Array, oip: 'FP64' },
  uint32: { onnx: 12, bytes: 4, array: Uint32Array, oip: 'UINT32' },
  uint64: { onnx: 13, bytes: 8, array: BigUint64Array, oip: 'UINT64' },
  bfloat16: { onnx: 16, bytes: 2, array: Uint16Array, oip: 'BF16' },
} as const

export type DataType = keyof typeof dataTypes

const byNumber = new Map(Object.entries(dataTypes).map(([name, { onnx }]) => [onnx as number, name as DataType]))

/** The element type of a TensorProto.DataType number; undefined for those we do not hold (complex, float8, …). */
export const dataTypeOf = (onnx: number): DataType | undefined => byNumber.get(onnx)

/** Whether it names an element type that is held here. */
export const isDataType = (name: string): name is DataType => Object.hasOwn(dataTypes, name)

/** A dense tensor in row-major order. */
export interface Tensor {
  readonly dtype: DataType
  readonly dims: readonly number[]
  readonly data: TypedArray | string[]
}

/** Elements of a shape; throws MODEL_INVALID for negative dimensions and products beyond 2^53. */
export function elements(dims: readonly number[]): number {
  let product = 1
  for (const dim of dims) {
    product *= dim
    if (dim < 0 || !Number.isSafeInteger(dim) || !Number.isSafeInteger(product)) {
      throw fail('MODEL_INVALID', { reason: `a tensor claims the shape [${dims.slice(0, 8)}]` })
    }
  }
  return product
}
