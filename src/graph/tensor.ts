import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { type TensorProto, TensorProtoSchema } from './gen/onnx_pb.js'

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

/** A dense tensor in row-major order. */
export interface Tensor {
  readonly dtype: DataType
  readonly dims: readonly number[]
  readonly data: TypedArray | string[]
}

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

/** The message of a tensor, its data as little-endian raw bytes (strings as such). */
export function toProto({ dtype, dims, data }: Tensor, name = ''): TensorProto {
  const proto = create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: dataTypes[dtype].onnx })
  if (dtype === 'string') proto.stringData = (data as string[]).map((text) => new TextEncoder().encode(text))
  else {
    const { buffer, byteOffset, byteLength } = data as TypedArray
    proto.rawData = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)
  }
  return proto
}

/** The tensor of a message that `checkModel` accepted; throws MODEL_INVALID for element types we do not hold. */
export function fromProto(proto: TensorProto): Tensor {
  const dtype = dataTypeOf(proto.dataType)
  if (!dtype) throw fail('MODEL_INVALID', { reason: `tensor "${proto.name}" has the element type ${proto.dataType}` })
  const dims = proto.dims.map(Number)
  if (dtype === 'string')
    return tensor(
      dtype,
      dims,
      proto.stringData.map((bytes) => new TextDecoder().decode(bytes)),
    )
  const { array, bytes } = dataTypes[dtype]
  if (proto.rawData.length) {
    const copy = new Uint8Array(proto.rawData) // raw bytes need not be aligned
    return tensor(dtype, dims, new array(copy.buffer, 0, copy.byteLength / bytes))
  }
  if (dtype === 'int64') return tensor(dtype, dims, BigInt64Array.from(proto.int64Data))
  if (dtype === 'uint64' || dtype === 'uint32') {
    return dtype === 'uint64'
      ? tensor(dtype, dims, BigUint64Array.from(proto.uint64Data))
      : tensor(dtype, dims, Uint32Array.from(proto.uint64Data, Number))
  }
  const values = dtype === 'float32' ? proto.floatData : dtype === 'float64' ? proto.doubleData : proto.int32Data
  return tensor(dtype, dims, (array as typeof Float32Array).from(values))
}

/** Elements as numbers (64-bit integers may lose precision beyond 2^53). */
export const numbers = ({ data }: Tensor): number[] => Array.from(data as Iterable<number | bigint | string>, Number)
