import { fromBinary } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import { elements, type Tensor } from '../../graph/tensor.ts'
import { invalid, type Source } from '../source.ts'
import { BundleEntryProtoSchema, BundleHeaderProtoSchema } from './gen/tensorflow_pb.js'
import { arrayOf, typeOfNumber } from './tensors.ts'

const FORMAT = 'TensorFlow'
const ENTRY_LIMIT = 200_000
const KEY_LIMIT = 4096

/** The variables of a checkpoint by their keys; nothing of their data is read before it is asked for. */
export interface Variables {
  has(key: string): boolean
  /** Throws FORMAT_INVALID when the key is missing, or its data lies beyond its file. */
  read(key: string): Tensor
}

/**
 * A checkpoint of TensorFlow's second format: `prefix.index` is a sorted table as LevelDB writes it, whose values say where
 * in `prefix.data-…` a tensor lies (tensorflow/core/util/tensor_bundle). Throws FORMAT_INVALID.
 */
export function readVariables(source: Source, prefix: string): Variables {
  const entries = readTable(source.read(`${prefix}.index`))
  const head = entries.get('')
  if (!head) throw invalid(FORMAT, 'variables.index has no header')
  const { numShards, endianness } = decoded(() => fromBinary(BundleHeaderProtoSchema, head))
  if (endianness !== 0)
    throw fail('UNSUPPORTED', {
      what: 'a checkpoint of big-endian numbers',
      instead: 'Save it again on another machine.',
    })
  const shardOf = (shard: number) => {
    const five = (n: number) => String(n).padStart(5, '0')
    return source.read(`${prefix}.data-${five(shard)}-of-${five(numShards)}`)
  }
  return {
    has: (key) => entries.has(key),
    read(key) {
      const where = `the variable "${key.slice(0, 120)}"`
      const entry = entries.get(key)
      if (!entry || key === '') throw invalid(FORMAT, `${where} is not in the checkpoint`)
      const { dtype, shape, shardId, offset, size } = decoded(() => fromBinary(BundleEntryProtoSchema, entry))
      const dims = (shape?.dim ?? []).map((dim) => Number(dim.size))
      const type = typeOfNumber(dtype, where)
      const file = shardOf(shardId)
      const [from, length] = [Number(offset), Number(size)]
      if (from < 0 || length < 0 || from + length > file.byteLength)
        throw invalid(FORMAT, `${where} lies beyond its file`)
      const data = arrayOf(type, file.subarray(from, from + length))
      if (elements(dims) !== data.length)
        throw invalid(FORMAT, `${where} of shape [${dims}] has ${data.length} numbers`)
      return { dtype: type, dims, data }
    },
  }
}

const decoded = <T>(decode: () => T): T => {
  try {
    return decode()
  } catch (error) {
    throw invalid(FORMAT, 'an entry of variables.index cannot be read', error)
  }
}

const FOOTER = 48
const MAGIC = 0xdb4775248b80fb57n
/** A block ends with its compression and a checksum. */
const TRAILER = 5

/** All entries of a sorted table: keys are stored as what differs from the key before. */
function readTable(bytes: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength < FOOTER || view.getBigUint64(bytes.byteLength - 8, true) !== MAGIC)
    throw invalid(FORMAT, 'variables.index is not a table')
  const footer = cursor(bytes.subarray(bytes.byteLength - FOOTER))
  footer.varint()
  footer.varint() // the index of filters, which is empty
  const entries = new Map<string, Uint8Array>()
  for (const [, handle] of block(bytes, footer.varint(), footer.varint())) {
    const place = cursor(handle)
    for (const [key, value] of block(bytes, place.varint(), place.varint())) {
      if (entries.size >= ENTRY_LIMIT) throw invalid(FORMAT, 'too many entries in variables.index')
      entries.set(key, value)
    }
  }
  return entries
}

function* block(bytes: Uint8Array, offset: number, size: number): Generator<[string, Uint8Array]> {
  if (offset + size + TRAILER > bytes.byteLength || size < 4)
    throw invalid(FORMAT, 'a block of variables.index lies beyond it')
  if (bytes[offset + size] !== 0)
    throw fail('UNSUPPORTED', {
      what: 'a compressed variables.index',
      instead: 'TensorFlow writes it without compression.',
    })
  const restarts = new DataView(bytes.buffer, bytes.byteOffset + offset + size - 4, 4).getUint32(0, true)
  const end = size - 4 - 4 * restarts
  if (end < 0) throw invalid(FORMAT, 'a block of variables.index is cut off')
  const at = cursor(bytes.subarray(offset, offset + end))
  let key = new Uint8Array()
  while (at.left() > 0) {
    const [shared, own, length] = [at.varint(), at.varint(), at.varint()]
    if (shared > key.length || shared + own > KEY_LIMIT) throw invalid(FORMAT, 'a key of variables.index')
    key = Uint8Array.of(...key.subarray(0, shared), ...at.take(own))
    yield [new TextDecoder().decode(key), at.take(length)]
  }
}

/** Reads on and on, never beyond the end. */
function cursor(bytes: Uint8Array) {
  let at = 0
  const refuse = () => invalid(FORMAT, 'variables.index is cut off')
  return {
    left: () => bytes.byteLength - at,
    varint() {
      let value = 0
      for (let i = 0; i < 7; i++) {
        if (at >= bytes.byteLength) throw refuse()
        const byte = bytes[at++]
        value += (byte & 0x7f) * 2 ** (7 * i)
        if (byte < 0x80) return value
      }
      throw refuse()
    },
    take(length: number) {
      if (length > bytes.byteLength - at) throw refuse()
      at += length
      return bytes.subarray(at - length, at)
    },
  }
}
