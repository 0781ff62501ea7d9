import { fail } from '../base/errors.ts'
import { fromBfloat, fromHalf } from '../graph/half.ts'
import { type DataType, dataTypes, type Tensor, type TypedArray } from '../graph/tensor.ts'

/** Named tensors and a flat map of texts, as a safetensors file holds them. */
export interface SafeTensors {
  tensors: Map<string, Tensor>
  metadata: Record<string, string>
}

/** Element types by the name the format gives them; its 8-bit floats and smaller are not held. */
const names: Record<string, DataType> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
}
const nameOf = new Map(Object.entries(names).map(([name, dtype]) => [dtype, name]))

/** The format's own limit on its header, in bytes. */
const HEADER_LIMIT = 100_000_000
const METADATA = '__metadata__'

const invalid = (reason: string, cause?: unknown) =>
  fail('FORMAT_INVALID', { format: 'safetensors', reason }, { cause })

/**
 * Reads a safetensors file (8 bytes of header size, a JSON header, tensors without gaps). Nothing is allocated by what the
 * header claims before it was held against the file; tensors are views of `bytes` where alignment lets them be, so it
 * must not change. Throws FORMAT_INVALID.
 */
export function readSafetensors(bytes: Uint8Array): SafeTensors {
  if (bytes.byteLength < 8) throw invalid(`${bytes.byteLength} bytes are too few for a header`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const size = view.getBigUint64(0, true)
  if (size > BigInt(Math.min(HEADER_LIMIT, bytes.byteLength - 8)))
    throw invalid(`the header claims ${size} bytes, of ${bytes.byteLength - 8} in the file`)
  const start = 8 + Number(size)
  const { [METADATA]: metadata = {}, ...entries } = parseHeader(bytes.subarray(8, start))
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string'))
    throw invalid(`${METADATA} is not a map of texts`)

  const places = Object.entries(entries).map(([name, entry]) => placeOf(name, entry))
  places.sort((a, b) => a.from - b.from || a.to - b.to)
  let end = 0
  for (const { name, from, to } of places) {
    if (from !== end) throw invalid(`tensor "${short(name)}" begins at ${from}, where ${end} was expected`)
    end = to
  }
  if (end !== bytes.byteLength - start)
    throw invalid(`its tensors take ${end} bytes, the file has ${bytes.byteLength - start}`)
  const tensors = new Map(
    places.map(({ name, dtype, dims, from, to }): [string, Tensor] => {
      const data = typed(dtype, bytes.subarray(start + from, start + to))
      return [name, { dtype, dims, data }]
    }),
  )
  return { tensors, metadata: metadata as Record<string, string> }
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw invalid('its header is not a JSON object')
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw invalid('its header is not valid JSON', error)
  }
  return header as Record<string, unknown>
}

interface Place {
  name: string
  dtype: DataType
  dims: number[]
  from: number
  to: number
}

/** One entry of the header, its size held against its shape. */
function placeOf(name: string, entry: unknown): Place {
  const refuse = (reason: string) => invalid(`tensor "${short(name)}": ${reason}`)
  if (!isRecord(entry)) throw refuse('not described')
  const { dtype: type, shape, data_offsets: offsets } = entry
  const dtype = typeof type === 'string' && Object.hasOwn(names, type) ? names[type] : undefined
  if (!dtype) throw refuse(`element type ${short(String(type))} is none of ${Object.keys(names).join(', ')}`)
  if (!isSizes(shape) || shape.length > 64) throw refuse('its shape is not a list of sizes')
  if (!isSizes(offsets) || offsets.length !== 2) throw refuse('its offsets are not a pair')
  const [from, to] = offsets
  const length = shape.reduce((product, dim) => product * dim, dataTypes[dtype].bytes)
  // zeros may hide an overflow: the others' product must be countable too
  const largest = shape.reduce((product, dim) => product * Math.max(1, dim), dataTypes[dtype].bytes)
  if (!Number.isSafeInteger(largest)) throw refuse(`no file holds a shape of [${shape.slice(0, 8)}]`)
  if (to < from || to - from !== length) throw refuse(`${to - from} bytes for a shape that needs ${length}`)
  return { name, dtype, dims: shape, from, to }
}

/**
 * The file's bytes in pieces, header first; tensors are not copied. Wider elements come first, so that all are aligned.
 */
export function safetensorsPieces(
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Record<string, string> = {},
): Uint8Array[] {
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata]] : []
  const pieces: Uint8Array[] = []
  let offset = 0
  for (const [name, { dtype, dims, data }] of [...tensors].sort(
    ([, a], [, b]) => dataTypes[b.dtype].bytes - dataTypes[a.dtype].bytes,
  )) {
    const type = nameOf.get(dtype)
    if (!type || name === METADATA) throw invalid(`a tensor "${short(name)}" of ${dtype} cannot be written`)
    const { buffer, byteOffset, byteLength } = data as TypedArray
    header.push([name, { dtype: type, shape: dims, data_offsets: [offset, offset + byteLength] }])
    pieces.push(new Uint8Array(buffer, byteOffset, byteLength))
    offset += byteLength
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.byteLength % 8)) % 8, ' ')]) // tensors start on 8 bytes
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.byteLength))
  return [length, padded, ...pieces]
}

/** The whole file in memory. */
export const writeSafetensors = (...given: Parameters<typeof safetensorsPieces>): Buffer =>
  Buffer.concat(safetensorsPieces(...given))

/** The elements of a floating-point tensor as float32; throws FORMAT_INVALID for others. */
export function floatsOf({ dtype, data }: Tensor, name: string): Float32Array {
  if (dtype === 'float32') return data as Float32Array
  if (dtype === 'float16') return fromHalf(data as Uint16Array)
  if (dtype === 'bfloat16') return fromBfloat(data as Uint16Array)
  if (dtype === 'float64') return Float32Array.from(data as Float64Array)
  throw invalid(`tensor "${short(name)}" is of ${dtype}, where real numbers are expected`)
}

/** Bytes as elements: a view where they are aligned, else a copy. */
function typed(dtype: DataType, bytes: Uint8Array): TypedArray {
  const { array, bytes: each } = dataTypes[dtype]
  const { buffer, byteOffset, byteLength } = aligned(bytes, each)
  return new (array as typeof Float32Array)(buffer as ArrayBuffer, byteOffset, byteLength / each)
}
const aligned = (bytes: Uint8Array, each: number) => (bytes.byteOffset % each === 0 ? bytes : bytes.slice())

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((dim) => Number.isSafeInteger(dim) && dim >= 0)
const short = (text: string) => text.slice(0, 80)
