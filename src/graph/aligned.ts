import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/** Bytes of a tensor from which on its data lie at a multiple of `ALIGNMENT` in the file, so that it can be mapped. */
export const LARGE = 4096
export const ALIGNMENT = 64

/** A field of ONNX's graph that no version of it has, so that readers pass over it: filling before a tensor. */
export const FILLING = 1023
const FILLING_TAG = [(((FILLING << 3) | WireType.LengthDelimited) & 0x7f) | 0x80, FILLING >> 4]
/** Field numbers of onnx.proto: a model's graph, a graph's initializers, a tensor's raw data. */
const [GRAPH, INITIALIZER, RAW_DATA] = [7, 5, 9]

interface Field {
  readonly no: number
  /** Where its tag begins, and where its content begins and ends. */
  readonly tag: number
  readonly start: number
  readonly end: number
}

/** A written model with filling between its tensors, so that the data of large ones are aligned in the file. */
export function aligned(bytes: Uint8Array): Uint8Array {
  const graph = fieldsOf(bytes, 0, bytes.byteLength).find(({ no }) => no === GRAPH)
  if (!graph) return bytes
  const large = fieldsOf(bytes, graph.start, graph.end).flatMap((field) => {
    const raw = field.no === INITIALIZER && fieldsOf(bytes, field.start, field.end).find(({ no }) => no === RAW_DATA)
    return raw && raw.end - raw.start >= LARGE ? [{ tag: field.tag, data: raw.start }] : []
  })
  if (large.length === 0) return bytes
  const fillings: number[] = []
  const lengthOf = () => graph.end - graph.start + fillings.reduce((a, b) => a + b, 0)
  // the graph's length may take a byte more than before, which moves all that follows
  let digits = 0
  do {
    digits++
    let moved = graph.tag + 1 + digits - graph.start
    large.forEach(({ data }, i) => {
      fillings[i] = fillingOf(-(data + moved) & (ALIGNMENT - 1))
      moved += fillings[i]
    })
  } while (lengthOf() >= 2 ** (7 * digits))
  const pieces = [bytes.subarray(0, graph.tag + 1), varint(lengthOf(), digits)]
  let from = graph.start
  large.forEach(({ tag }, i) => {
    pieces.push(bytes.subarray(from, tag), filled(fillings[i]))
    from = tag
  })
  return Buffer.concat([...pieces, bytes.subarray(from)])
}

/** Bytes of a filling that moves what follows by `wanted`, modulo the alignment: none, or at least its tag and length. */
const fillingOf = (wanted: number) => (wanted === 0 || wanted > FILLING_TAG.length ? wanted : wanted + ALIGNMENT)

/** A field of so many bytes in all, below 128. */
function filled(bytes: number): Uint8Array {
  const field = new Uint8Array(bytes)
  if (bytes > 0) field.set([...FILLING_TAG, bytes - FILLING_TAG.length - 1])
  return field
}

/** The fields of a message that stands in `bytes` from `start` to `end`. */
function fieldsOf(bytes: Uint8Array, start: number, end: number): Field[] {
  const reader = new BinaryReader(bytes.subarray(start, end))
  const fields: Field[] = []
  while (reader.pos < reader.len) {
    const tag = start + reader.pos
    const [no, type] = reader.tag()
    if (type !== WireType.LengthDelimited) {
      reader.skip(type)
      continue
    }
    const length = reader.uint32()
    fields.push({ no, tag, start: start + reader.pos, end: start + reader.pos + length })
    reader.pos += length
  }
  return fields
}

/** A number in so many bytes of seven bits, the lowest first; all but the last say that another follows. */
const varint = (value: number, digits: number) =>
  Uint8Array.from({ length: digits }, (_, i) => (Math.floor(value / 2 ** (7 * i)) & 0x7f) | (i + 1 < digits ? 0x80 : 0))
