import type { AthanorError } from '../base/errors.ts'
import { type DataType, dataTypes, type Tensor, type TypedArray } from './dtype.ts'

type Refuse = (message: string) => AthanorError

/** The elements of a tensor of strings, each after its length; `refuse` makes the error. Nothing is copied. */
export function stringsOf(bytes: Uint8Array, count: number, refuse: Refuse): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const parts: Uint8Array[] = []
  let at = 0
  while (at < bytes.byteLength) {
    if (bytes.byteLength - at < 4) throw refuse('a string length that is cut off')
    const length = view.getUint32(at, true)
    at += 4
    if (length > bytes.byteLength - at)
      throw refuse(`a string of ${length} bytes where ${bytes.byteLength - at} are left`)
    if (parts.length === count) throw refuse(`more than the ${count} strings that the shape asks for`)
    parts.push(bytes.subarray(at, at + length))
    at += length
  }
  if (parts.length !== count) throw refuse(`${parts.length} strings, but the shape asks for ${count}`)
  return parts
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Strings of a tensor as texts. */
export function textsOf(parts: readonly Uint8Array[], refuse: Refuse): string[] {
  return parts.map((part, i) => {
    try {
      return utf8.decode(part)
    } catch {
      throw refuse(`string ${i} is not UTF-8`)
    }
  })
}

/** A tensor from its bytes, which it goes on using where they are aligned; `refuse` makes the error. */
export function tensorFromBinary(
  bytes: Uint8Array,
  dtype: DataType,
  dims: readonly number[],
  count: number,
  refuse: Refuse,
): Tensor {
  if (dtype === 'string') return { dtype, dims, data: textsOf(stringsOf(bytes, count, refuse), refuse) }
  const { array, bytes: width } = dataTypes[dtype]
  if (bytes.byteLength !== count * width)
    throw refuse(`${bytes.byteLength} bytes, but the shape asks for ${count * width}`)
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes)
  return { dtype, dims, data: new array!(buffer as ArrayBuffer, byteOffset, count) as TypedArray }
}

/** A tensor's bytes as the Open Inference Protocol carries them. */
export function binaryOf({ dtype, data }: Tensor): Uint8Array {
  if (dtype !== 'string') {
    const { buffer, byteOffset, byteLength } = data as TypedArray
    return new Uint8Array(buffer, byteOffset, byteLength)
  }
  const encoded = (data as string[]).map((text) => Buffer.from(text, 'utf8'))
  return Buffer.concat(
    encoded.flatMap((bytes) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(bytes.byteLength)
      return [length, bytes]
    }),
  )
}

const byProtocol = new Map(Object.entries(dataTypes).map(([dtype, { oip }]) => [oip as string, dtype as DataType]))

/** Our name of the Open Inference Protocol's data type. */
export const dtypeOfOip = (datatype: string): DataType | undefined => byProtocol.get(datatype)
