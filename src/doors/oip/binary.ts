import type { FastifyRequest } from 'fastify'
import { fail } from '../../base/errors.ts'
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
