import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { type TensorProto, TensorProtoSchema } from './gen/onnx_pb.js'
import { dataTypeOf, dataTypes, type Tensor, type TypedArray, tensor } from './tensor.ts'

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
