import type { FastifyRequest } from 'fastify'

import { type AthanorError, fail } from '../../base/errors.ts'
import { type DataType, dataTypes, type Tensor, type TypedArray } from '../../graph/dtype.ts'
import type { InferRequest } from './rest.ts'

/**
 * The binary tensor data extension: a JSON head, its length in `Inference-Header-Content-Length`, then tensors in order;
 * little-endian, strings with a four-byte length before each.
 */
const HEADER = 'inference-header-content-length'
const tails = new WeakMap<object, Uint8Array>()

/** Parses a body of head and tensors; the tail is kept for `splitBinary`. Throws BAD_REQUEST. */
export function parseBinaryBody(bytes: Buffer, headerLength: string | string[] | undefined): unknown {
  const length = Number(headerLength ?? bytes.byteLength)
  if (!Number.isSafeInteger(length) || length < 2 || length > bytes.byteLength) {
    throw fail('BAD_REQUEST', {
      message: `${HEADER}: expected 2 to ${bytes.byteLength}, got ${String(headerLength).slice(0, 20)}`,
    })
  }
  let head: unknown
  try {
    head = JSON.parse(bytes.toString('utf8', 0, length))
  } catch {
    throw fail('BAD_REQUEST', { message: 'the head of the body is not JSON' })
  }
  if (typeof head === 'object' && head !== null) tails.set(head, bytes.subarray(length))
  return head
}

/** The binary part of each input that has one; the sizes must use up the body exactly. Throws BAD_REQUEST. */
export function splitBinary({ body }: Pick<FastifyRequest, 'body'>, request: InferRequest): Map<string, Uint8Array> {
  const tail = tails.get(body as object) ?? new Uint8Array()
  const parts = new Map<string, Uint8Array>()
  let at = 0
  for (const { name, parameters } of request.inputs) {
    const size = parameters?.binary_data_size
    if (size === undefined) continue
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > tail.byteLength - at) {
      throw fail('BAD_REQUEST', {
        message: `inputs.${name.slice(0, 80)}.parameters.binary_data_size: ${size} does not fit the ${tail.byteLength - at} bytes left`,
      })
    }
    parts.set(name, tail.subarray(at, at + size))
    at += size
  }
  if (at !== tail.byteLength)
    throw fail('BAD_REQUEST', { message: `${tail.byteLength - at} bytes of the body belong to no input` })
  return parts
}

/** A tensor from its bytes; `refuse` makes the error. */
export function tensorFromBinary(
  bytes: Uint8Array,
  dtype: DataType,
  dims: readonly number[],
  count: number,
  refuse: (message: string) => AthanorError,
): Tensor {
  if (dtype === 'string') {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const decoder = new TextDecoder()
    const texts: string[] = []
    let at = 0
    while (at < bytes.byteLength) {
      if (bytes.byteLength - at < 4) throw refuse('a string length that is cut off')
      const length = view.getUint32(at, true)
      at += 4
      if (length > bytes.byteLength - at)
        throw refuse(`a string of ${length} bytes where ${bytes.byteLength - at} are left`)
      if (texts.length === count) throw refuse(`more than the ${count} strings that the shape asks for`)
      texts.push(decoder.decode(bytes.subarray(at, at + length)))
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
