import type { Readable } from 'node:stream'
import { fail } from '../../base/errors.ts'
import { dataTypes } from '../../graph/dtype.ts'
import type { Version } from '../../registry/registry.ts'
import { collect } from '../body.ts'
import { parseJson } from '../requests.ts'
import { viewOf } from '../views.ts'
import type { InferRequest } from './rest.ts'
import { invalid } from './tensors.ts'

/**
 * The binary tensor data extension: a JSON head, its length in `Inference-Header-Content-Length`, then tensors in order;
 * little-endian, strings with a four-byte length before each. A length of 0 is a raw request: the body is the one input.
 */
const HEADER = 'inference-header-content-length'

const tails = new WeakMap<object, Uint8Array>()
const raws = new WeakSet<object>()

/** Reads a body of head and tensors; the tail is kept for `splitBinary`. Throws BAD_REQUEST. */
export async function readBinaryBody(content: Readable, given: string | string[] | undefined, limit: number) {
  const refuse = (expected: string) =>
    fail('BAD_REQUEST', { message: `${HEADER}: expected ${expected}, got ${String(given).slice(0, 20)}` })
  if (given !== undefined && !/^\d{1,15}$/.test(String(given))) throw refuse('a number of bytes')
  const length = given === undefined ? undefined : Number(given)
  const bytes = await collect(content, limit, length)
  if (length === 0) return rawRequest(bytes)
  const end = length ?? bytes.byteLength
  if (end < 2 || end > bytes.byteLength) throw refuse(`0, or 2 to ${bytes.byteLength}`)
  const head = parseJson(bytes.subarray(0, end))
  if (typeof head === 'object' && head !== null) tails.set(head, bytes.subarray(end))
  return head
}

/** A request without a head; what its input is called, only the model knows (`completed`). */
function rawRequest(bytes: Uint8Array): InferRequest {
  const request = { inputs: [{ name: '', shape: [], datatype: '' }], parameters: { binary_data_output: true } }
  tails.set(request, bytes)
  raws.add(request)
  return request
}

/**
 * A raw request with the head that it would have: the model's one input, a row of it where the first axis is of any
 * size, else as many as there are bytes for. Throws TENSOR_INVALID for models that cannot be asked so.
 */
function completed(request: InferRequest, bytes: Uint8Array, version: Version): InferRequest {
  const refuse = (reason: string) =>
    invalid(`a request without a head (${HEADER}: 0) ${reason}; send one with a head`, version.name)
  const [slot, ...more] = viewOf(version).inputs(version.manifest)
  if (!slot || more.length > 0) throw refuse('is for models of one input')
  const open = slot.shape.filter((size) => size < 0).length
  const fixed = slot.shape.reduce((product, size) => (size < 0 ? product : product * size), 1)
  const { bytes: width, oip: datatype } = dataTypes[slot.dtype]
  if (slot.dtype === 'string' ? fixed !== 1 : open > 1) throw refuse('needs an input with one axis of any size at most')
  const size = slot.dtype === 'string' ? 1 : bytes.byteLength / (fixed * width)
  if (!Number.isSafeInteger(size)) throw refuse(`needs a multiple of ${fixed * width} bytes, got ${bytes.byteLength}`)
  return { ...request, inputs: [{ name: slot.name, datatype, shape: slot.shape.map((dim) => (dim < 0 ? size : dim)) }] }
}

interface Asked {
  request: InferRequest
  /** The binary data of inputs that have some. */
  parts: Map<string, Uint8Array>
  /** Whether a string is its bytes alone, without their length before them. */
  raw: boolean
}

/** What was asked, and the binary part of each input that has one: these must use up the body exactly. Throws BAD_REQUEST. */
export function splitBinary(request: InferRequest, version: Version): Asked {
  const tail = tails.get(request) ?? new Uint8Array()
  const parts = new Map<string, Uint8Array>()
  if (raws.has(request)) {
    const whole = completed(request, tail, version)
    return { request: whole, parts: parts.set(whole.inputs[0].name, tail), raw: true }
  }
  let at = 0
  for (const { name, parameters } of request.inputs) {
    const size = parameters?.binary_data_size
    if (size === undefined) continue
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > tail.byteLength - at) {
      throw fail('BAD_REQUEST', {
        message: `inputs.${name.slice(0, 80)}.parameters.binary_data_size: ${String(size).slice(0, 40)} does not fit the ${tail.byteLength - at} bytes left`,
      })
    }
    parts.set(name, tail.subarray(at, at + size))
    at += size
  }
  if (at !== tail.byteLength)
    throw fail('BAD_REQUEST', { message: `${tail.byteLength - at} bytes of the body belong to no input` })
  return { request, parts, raw: false }
}
