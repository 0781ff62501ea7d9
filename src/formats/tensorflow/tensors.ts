import { fail } from '../../base/errors.ts'
import { type DataType, dataTypes, elements, type Tensor, type TypedArray } from '../../graph/tensor.ts'
import { invalid } from '../source.ts'
import type { TensorProto } from './gen/tensorflow_pb.js'
import { tfTypes } from './graphdef.ts'

const byNumber = new Map(Object.entries(tfTypes).map(([name, number]) => [number, name as DataType]))
const HALF = 19
/** Elements that one number may stand for: a constant that is all alike is stored once. */
const ALIKE_LIMIT = 1 << 24

/** The element type of that number; throws UNSUPPORTED naming `where`. Half floats are held as their bits. */
export function typeOfNumber(dtype: number, where: string): DataType {
  const type = dtype === HALF ? 'float16' : byNumber.get(dtype)
  if (type) return type
  throw fail('UNSUPPORTED', {
    what: `the element type ${dtype} of ${where} in a TensorFlow model`,
    instead: `${[...byNumber.values()].join(', ')} and float16 are read.`,
  })
}

/** Little-endian bytes as numbers; throws FORMAT_INVALID when they are no whole number of elements. */
export function arrayOf(dtype: DataType, bytes: Uint8Array): TypedArray {
  const { array, bytes: width } = dataTypes[dtype]
  if (bytes.byteLength % width !== 0) throw invalid('TensorFlow', `${bytes.byteLength} bytes of ${dtype}`)
  return new (array as Float32ArrayConstructor)(new Uint8Array(bytes).buffer) as TypedArray
}

/** The tensor of a message, whose last value stands for all that follow. Throws FORMAT_INVALID or UNSUPPORTED. */
export function tensorOfProto(proto: TensorProto, where: string): Tensor {
  const dtype = typeOfNumber(proto.dtype, where)
  const dims = (proto.tensorShape?.dim ?? []).map(({ size }) => Number(size))
  const count = elements(dims)
  const fits = (length: number) => {
    if (length !== count) throw invalid('TensorFlow', `${where} of shape [${dims}] has ${length} numbers`)
  }
  if (proto.tensorContent.byteLength > 0) {
    const data = arrayOf(dtype, proto.tensorContent)
    fits(data.length)
    return { dtype, dims, data }
  }
  const values: (number | bigint)[] = [
    ...proto.floatVal,
    ...proto.doubleVal,
    ...proto.intVal,
    ...proto.int64Val,
    ...proto.boolVal.map(Number),
    ...proto.halfVal,
  ]
  if (values.length > count || (count > values.length && count > ALIKE_LIMIT)) fits(values.length)
  const valueAt = (i: number) => values[Math.min(i, values.length - 1)] ?? 0
  const data =
    dtype === 'int64'
      ? BigInt64Array.from({ length: count }, (_, i) => BigInt(valueAt(i)))
      : (dataTypes[dtype].array as Float32ArrayConstructor).from({ length: count }, (_, i) => Number(valueAt(i)))
  return { dtype, dims, data }
}
