import { fail } from '../../base/errors.ts'
import { type BlockName, type BlockType, blockTypes } from './blocks.ts'

/** A value of the metadata: the writer is told its kind, the reader gives numbers, texts and lists of them. */
export type GgufValue =
  | { kind: 'uint32' | 'int32' | 'float32'; value: number }
  | { kind: 'bool'; value: boolean }
  | { kind: 'string'; value: string }
  | { kind: 'strings'; value: readonly string[] }
  | { kind: 'int32s'; value: readonly number[] }
  | { kind: 'float32s'; value: readonly number[] }

/** A tensor as the file holds it; `dims` in our order, the last one contiguous. */
export interface GgufTensor {
  dims: readonly number[]
  type: BlockName
  data: Float32Array
}

export interface GgufFile {
  metadata: Map<string, unknown>
  tensors: Map<string, { dims: number[]; type: BlockName; read(): Float32Array }>
}

const MAGIC = 0x46554747 // "GGUF"
const VERSION = 3
const ALIGNMENT = 32
const codes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const
const LIMITS = { entries: 100_000, tensors: 100_000, name: 1 << 16, list: 10_000_000, rank: 4 }

/** The bytes of a file in GGUF, version 3 (the format's specification in ggml's repository): metadata, then aligned tensors. */
export function writeGguf(metadata: Record<string, GgufValue>, tensors: Record<string, GgufTensor>): Uint8Array {
  const head: Uint8Array[] = []
  const number = (size: number, put: (view: DataView) => void) => {
    const view = new DataView(new ArrayBuffer(size))
    put(view)
    head.push(new Uint8Array(view.buffer))
  }
  const u32 = (value: number) => number(4, (view) => view.setUint32(0, value, true))
  const i32 = (value: number) => number(4, (view) => view.setInt32(0, value, true))
  const f32 = (value: number) => number(4, (view) => view.setFloat32(0, value, true))
  const u64 = (value: number) => number(8, (view) => view.setBigUint64(0, BigInt(value), true))
  const text = (value: string) => {
    const bytes = Buffer.from(value)
    u64(bytes.byteLength)
    head.push(bytes)
  }
  const list = <T>(code: number, values: readonly T[], put: (value: T) => void) => {
    u32(codes.array)
    u32(code)
    u64(values.length)
    values.forEach(put)
  }
  u32(MAGIC)
  u32(VERSION)
  u64(Object.keys(tensors).length)
  u64(Object.keys(metadata).length)
  for (const [key, entry] of Object.entries(metadata)) {
    text(key)
    if (entry.kind === 'strings') list(codes.string, entry.value, text)
    else if (entry.kind === 'int32s') list(codes.int32, entry.value, i32)
    else if (entry.kind === 'float32s') list(codes.float32, entry.value, f32)
    else {
      u32(codes[entry.kind])
      if (entry.kind === 'string') text(entry.value)
      else if (entry.kind === 'bool') head.push(Uint8Array.of(Number(entry.value)))
      else ({ uint32: u32, int32: i32, float32: f32 })[entry.kind](entry.value)
    }
  }
  const body: Uint8Array[] = []
  let offset = 0
  for (const [name, { dims, type, data }] of Object.entries(tensors)) {
    const bytes = blockTypes[type].write(data)
    text(name)
    u32(dims.length)
    for (const dim of [...dims].reverse()) u64(dim)
    u32(blockTypes[type].id)
    u64(offset)
    const padding = (ALIGNMENT - (bytes.byteLength % ALIGNMENT)) % ALIGNMENT
    body.push(bytes, new Uint8Array(padding))
    offset += bytes.byteLength + padding
  }
  const length = head.reduce((sum, { byteLength }) => sum + byteLength, 0)
  return Buffer.concat([...head, new Uint8Array((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT), ...body])
}

const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'GGUF', reason })
const typeOf = new Map(Object.entries(blockTypes).map(([name, type]) => [type.id, name as BlockName]))

/** The head of a GGUF file: metadata, and where each tensor lies; `code` is ggml's number of its element type. */
export interface GgufHead {
  metadata: Map<string, unknown>
  infos: { name: string; dims: number[]; code: number; offset: number }[]
  /** Where offsets count from. */
  start: number
}

/**
 * Reads the head of a GGUF file of version 2 or 3. Counts and sizes are held against the file before anything is allocated
 * by them. Throws FORMAT_INVALID.
 */
export function readGgufHead(bytes: Uint8Array): GgufHead {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const take = (size: number) => {
    if (size < 0 || at + size > bytes.byteLength) throw invalid('it ends in the middle of its header')
    at += size
    return at - size
  }
  const u32 = () => view.getUint32(take(4), true)
  const u64 = (what: string, limit: number) => {
    const value = view.getBigUint64(take(8), true)
    if (value > BigInt(limit)) throw invalid(`${value} is too many or too long for ${what}`)
    return Number(value)
  }
  const text = () => {
    const length = u64('a text', bytes.byteLength)
    const start = take(length)
    return new TextDecoder().decode(bytes.subarray(start, start + length))
  }
  const readers: Record<number, [size: number, read: () => unknown]> = {
    0: [1, () => view.getUint8(take(1))],
    1: [1, () => view.getInt8(take(1))],
    2: [2, () => view.getUint16(take(2), true)],
    3: [2, () => view.getInt16(take(2), true)],
    4: [4, u32],
    5: [4, () => view.getInt32(take(4), true)],
    6: [4, () => view.getFloat32(take(4), true)],
    7: [1, () => view.getUint8(take(1)) !== 0],
    8: [8, text],
    10: [8, () => Number(view.getBigUint64(take(8), true))],
    11: [8, () => Number(view.getBigInt64(take(8), true))],
    12: [8, () => view.getFloat64(take(8), true)],
  }
  const value = (code: number): unknown => {
    const reader = readers[code]
    if (reader) return reader[1]()
    if (code !== codes.array) throw invalid(`metadata of the unknown kind ${code}`)
    const inner = readers[u32()]
    if (!inner) throw invalid('lists within lists')
    const count = u64('a list', LIMITS.list)
    if (count * inner[0] > bytes.byteLength - at) throw invalid('a list is longer than the file')
    return Array.from({ length: count }, inner[1])
  }
  if (bytes.byteLength < 24 || u32() !== MAGIC) throw invalid('it does not begin with GGUF')
  const version = u32()
  if (version !== 2 && version !== VERSION) throw invalid(`version ${version} is neither 2 nor 3`)
  const tensorCount = u64('tensors', LIMITS.tensors)
  const entryCount = u64('metadata', LIMITS.entries)
  const metadata = new Map<string, unknown>()
  for (let i = 0; i < entryCount; i++) {
    const key = text()
    metadata.set(key, value(u32()))
  }
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text()
    const rank = u32()
    if (rank < 1 || rank > LIMITS.rank) throw invalid(`tensor "${name.slice(0, 80)}" has ${rank} dimensions`)
    const dims = Array.from({ length: rank }, () => u64('a dimension', 2 ** 40)).reverse()
    const code = u32()
    return { name, dims, code, offset: u64('an offset', bytes.byteLength) }
  })
  const alignment = Number(metadata.get('general.alignment') ?? ALIGNMENT)
  if (!Number.isSafeInteger(alignment) || alignment < 1 || alignment > 1 << 20)
    throw invalid(`an alignment of ${alignment}`)
  return { metadata, infos, start: Math.ceil(at / alignment) * alignment }
}

/**
 * Reads a GGUF file whose tensors are decoded when asked for. Throws FORMAT_INVALID, UNSUPPORTED for element types other than
 * f32, f16, q8_0, q4_0.
 */
export function readGguf(bytes: Uint8Array): GgufFile {
  const { metadata, infos, start } = readGgufHead(bytes)
  const tensors: GgufFile['tensors'] = new Map()
  for (const { name, dims, code, offset } of infos) {
    const type = typeOf.get(code)
    if (!type)
      throw fail('UNSUPPORTED', {
        what: `the element type ${code} of the GGUF tensor "${name.slice(0, 80)}"`,
        instead: `${Object.keys(blockTypes).join(', ')} are read.`,
      })
    const { elements, bytes: each }: BlockType = blockTypes[type]
    const count = dims.reduce((a, b) => a * b, 1)
    if (!Number.isSafeInteger(count) || dims.at(-1)! % elements !== 0)
      throw invalid(`tensor "${name.slice(0, 80)}" has the shape [${dims}]`)
    const size = (count / elements) * each
    if (start + offset + size > bytes.byteLength) throw invalid(`tensor "${name.slice(0, 80)}" ends after the file`)
    const place = bytes.subarray(start + offset, start + offset + size)
    tensors.set(name, { dims, type, read: () => blockTypes[type].read(place) })
  }
  return { metadata, tensors }
}
