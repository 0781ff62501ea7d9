import type { AthanorError } from '../base/errors.ts'
import { type DataType, dataTypes, type Tensor, type TypedArray } from './dtype.ts'

/** A tensor from its bytes; `refuse` makes the error, `textOf` the texts where they are not UTF-8. */
export function tensorFromBinary(
  bytes: Uint8Array,
  dtype: DataType,
  dims: readonly number[],
  count: number,
  refuse: (message: string) => AthanorError,
  textOf?: (bytes: Uint8Array) => string,
): Tensor {
  if (dtype === 'string') {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const decoder = new TextDecoder()
    const decode = textOf ?? ((part: Uint8Array) => decoder.decode(part))
    const texts: string[] = []
    let at = 0
    while (at < bytes.byteLength) {
      if (bytes.byteLength - at < 4) throw refuse('a string length that is cut off')
      const length = view.getUint32(at, true)
      at += 4
      if (length > bytes.byteLength - at)
        throw refuse(`a string of ${length} bytes where ${bytes.byteLength - at} are left`)
      if (texts.length === count) throw refuse(`more than the ${count} strings that the shape asks for`)
      texts.push(decode(bytes.subarray(at, at + length)))
      at += length
    }
    if (texts.length !== count) throw refuse(`${texts.length} strings, but the shape asks for ${count}`)
    return { dtype, dims, data: texts }
  }
  const { array, bytes: width } = dataTypes[dtype]
  if (bytes.byteLength !== count * width)
    throw refuse(`${bytes.byteLength} bytes, but the shape asks for ${count * width}`)
  const copy = new Uint8Array(bytes) // a part of the body need not be aligned
  return { dtype, dims, data: new array!(copy.buffer, 0, count) as TypedArray }
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
