import { fail } from '../base/errors.ts'

const NESTING_LIMIT = 64
/** Messages in one file; each costs memory far beyond its bytes. */
const MESSAGE_LIMIT = 4_000_000

type Fields = Record<number, Layout>
/** Which fields of a message hold messages, by number. */
export interface Layout {
  readonly fields: Fields
}

/** Which fields of ONNX's messages hold messages, by number; everything else is skipped over. */
const attribute: Layout = { fields: {} }
const graph: Layout = { fields: {} }
const leaf: Layout = { fields: {} }
const entry = leaf
const tensor: Layout = { fields: { 3: leaf, 13: entry, 16: entry } }
const dimension = leaf
const type: Layout = { fields: {} }
const tensorType: Layout = { fields: { 2: { fields: { 1: dimension } } } }
const sequence: Layout = { fields: { 1: type } }
const valueInfo: Layout = { fields: { 2: type, 4: entry } }
const sparse: Layout = { fields: { 1: tensor, 2: tensor } }
const node: Layout = { fields: { 5: attribute, 9: entry } }
const opset = leaf
const functionLayout: Layout = { fields: { 7: node, 9: opset, 11: attribute, 12: valueInfo, 14: entry } }
Object.assign(type.fields, { 1: tensorType, 4: sequence, 5: { fields: { 2: type } }, 8: tensorType, 9: sequence })
Object.assign(attribute.fields, {
  5: tensor,
  6: graph,
  10: tensor,
  11: graph,
  14: type,
  15: type,
  22: sparse,
  23: sparse,
})
Object.assign(graph.fields, {
  1: node,
  5: tensor,
  11: valueInfo,
  12: valueInfo,
  13: valueInfo,
  14: leaf,
  15: sparse,
  16: entry,
})
const model: Layout = {
  fields: { 7: graph, 8: opset, 14: entry, 20: { fields: { 1: graph, 2: graph } }, 25: functionLayout },
}

/**
 * Walks the wire format of a model before it is decoded: every length inside its message, no group, varints of at most
 * ten bytes, nesting and number of messages bounded. Throws MODEL_INVALID, or what `invalid` makes of the reason.
 */
export function scan(
  bytes: Uint8Array,
  layout = model,
  invalid = (reason: string): Error => fail('MODEL_INVALID', { reason }),
) {
  let at = 0
  let messages = 0
  const refuse = (reason: string) => invalid(`${reason} at byte ${at}`)

  /** Returns the low 53 bits; lengths beyond that are refused anyway. */
  const varint = (end: number): number => {
    let value = 0
    for (let i = 0; i < 10; i++) {
      if (at >= end) throw refuse('a number that is cut off')
      const byte = bytes[at++]
      value += (byte & 0x7f) * 2 ** (7 * i)
      if (byte < 0x80) return value
    }
    throw refuse('a number of more than ten bytes')
  }

  const walk = (end: number, { fields }: Layout, depth: number) => {
    if (depth > NESTING_LIMIT) throw refuse(`nesting deeper than ${NESTING_LIMIT}`)
    if (++messages > MESSAGE_LIMIT) throw refuse('too many parts')
    while (at < end) {
      const tag = varint(end)
      const [field, wire] = [Math.floor(tag / 8), tag % 8]
      if (field === 0) throw refuse('a field numbered 0')
      if (wire === 0) varint(end)
      else if (wire === 1 || wire === 5) {
        at += wire === 1 ? 8 : 4
        if (at > end) throw refuse('a number that is cut off')
      } else if (wire === 2) {
        const length = varint(end)
        if (length > end - at) throw refuse('a part that claims to be longer than what holds it')
        const inner = fields[field]
        if (inner) walk(at + length, inner, depth + 1)
        else at += length
      } else throw refuse(`wire type ${wire}`)
    }
  }
  walk(bytes.byteLength, layout, 0)
}
