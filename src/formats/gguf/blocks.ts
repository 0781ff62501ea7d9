import { fromHalf, toHalf } from '../../graph/half.ts'

/** How GGUF stores elements: its number for the type, elements and bytes of a block, and the way there and back. */
export interface BlockType {
  readonly id: number
  readonly elements: number
  readonly bytes: number
  write(values: Float32Array): Uint8Array
  read(bytes: Uint8Array): Float32Array
}

const BLOCK = 32
const asBytes = ({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength)
/** A copy whose buffer begins with the bytes. */
const copied = (bytes: Uint8Array) => new Uint8Array(bytes).buffer

/** One scale, half precision, and 32 elements a block; `write` and `read` take one block at its place. */
function blocks(
  id: number,
  bytes: number,
  one: {
    write(values: Float32Array, from: number, view: DataView, at: number): void
    read(view: DataView, at: number, values: Float32Array, to: number): void
  },
): BlockType {
  return {
    id,
    elements: BLOCK,
    bytes,
    write(values) {
      const result = new Uint8Array((values.length / BLOCK) * bytes)
      const view = new DataView(result.buffer)
      for (let i = 0, at = 0; i < values.length; i += BLOCK, at += bytes) one.write(values, i, view, at)
      return result
    },
    read(given) {
      const view = new DataView(given.buffer, given.byteOffset, given.byteLength)
      const values = new Float32Array((given.byteLength / bytes) * BLOCK)
      for (let i = 0, at = 0; i < values.length; i += BLOCK, at += bytes) one.read(view, at, values, i)
      return values
    },
  }
}

const half = (value: number) => toHalf([value])[0]
const whole = (bits: number) => fromHalf(Uint16Array.of(bits))[0]
/** Rounds halves away from zero, as C's roundf. */
const rounded = (value: number) => Math.sign(value) * Math.floor(Math.abs(value) + 0.5)

/** Element types by the names that exports are asked for; what they do to numbers is what ggml does. */
export const blockTypes = {
  f32: { id: 0, elements: 1, bytes: 4, write: asBytes, read: (bytes) => new Float32Array(copied(bytes)) },
  f16: {
    id: 1,
    elements: 1,
    bytes: 2,
    write: (values) => asBytes(toHalf(values)),
    read: (bytes) => fromHalf(new Uint16Array(copied(bytes))),
  },
  /** Scale d and 32 signed bytes q: d · q. */
  q8_0: blocks(8, 34, {
    write(values, from, view, at) {
      let most = 0
      for (let i = 0; i < BLOCK; i++) most = Math.max(most, Math.abs(values[from + i]))
      const scale = Math.fround(most / 127)
      const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
      view.setUint16(at, half(scale), true)
      for (let i = 0; i < BLOCK; i++) view.setInt8(at + 2 + i, rounded(Math.fround(values[from + i] * inverse)))
    },
    read(view, at, values, to) {
      const scale = whole(view.getUint16(at, true))
      for (let i = 0; i < BLOCK; i++) values[to + i] = scale * view.getInt8(at + 2 + i)
    },
  }),
  /** Scale d and 32 numbers q of 4 bits, the first sixteen in the low halves of bytes: d · (q - 8). */
  q4_0: blocks(2, 18, {
    write(values, from, view, at) {
      let extreme = 0
      for (let i = 0; i < BLOCK; i++) if (Math.abs(values[from + i]) > Math.abs(extreme)) extreme = values[from + i]
      const scale = Math.fround(extreme / -8)
      const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
      view.setUint16(at, half(scale), true)
      const level = (i: number) => Math.min(15, Math.trunc(Math.fround(values[from + i] * inverse) + 8.5))
      for (let i = 0; i < BLOCK / 2; i++) view.setUint8(at + 2 + i, level(i) | (level(i + BLOCK / 2) << 4))
    },
    read(view, at, values, to) {
      const scale = whole(view.getUint16(at, true))
      for (let i = 0; i < BLOCK / 2; i++) {
        const pair = view.getUint8(at + 2 + i)
        values[to + i] = scale * ((pair & 15) - 8)
        values[to + i + BLOCK / 2] = scale * ((pair >> 4) - 8)
      }
    },
  }),
} as const satisfies Record<string, BlockType>
export type BlockName = keyof typeof blockTypes
