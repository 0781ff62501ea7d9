import { intOf } from '../../graph/attributes.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import type { Rule, Site } from './rewrite.ts'

/** Rows of numbers of 4 or 8 bits, `size` of which share a scale: packed low half first, each block to a whole byte. */
interface Packed {
  rows: number
  width: number
  bits: number
  size: number
  packed: Tensor
  scales: Tensor
  zeros?: Tensor | undefined
}

/** The stored inputs of a node with its attributes; refuses what onnxruntime's operators allow beyond that. */
function packedOf(site: Site, rows: number, width: number, [data, scale, zero]: (string | undefined)[]): Packed {
  const { node } = site
  const [bits, size] = [intOf(node, 'bits', 4), intOf(node, 'block_size', 128)]
  const [packed, scales] = [site.stored(data!), site.stored(scale!)]
  const zeros = zero ? site.stored(zero) : undefined
  if (packed?.dtype !== 'uint8' || scales?.dtype !== 'float32' || (bits !== 4 && bits !== 8) || (zero && !zeros))
    return site.refuse('its weights are not stored as 4 or 8 bits with float scales')
  return { rows, width, bits, size, packed, scales, zeros }
}

/** The numbers (rows, width), written where `place` says. */
function unpacked(
  { rows, width, bits, size, packed, scales, zeros }: Packed,
  place: (row: number, i: number) => number,
) {
  const blocks = Math.ceil(width / size)
  const bytes = (count: number) => Math.ceil((count * bits) / 8)
  const at = ({ data }: Tensor, row: number, i: number, rowBytes: number) => {
    const byte = Number(data[row * rowBytes + (bits === 8 ? i : i >> 1)])
    return bits === 8 ? byte : i % 2 === 0 ? byte & 15 : byte >> 4
  }
  const result = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < width; i++) {
      const block = Math.floor(i / size)
      const zero = zeros ? at(zeros, row, block, bytes(blocks)) : 2 ** (bits - 1)
      const value = at(packed, row, i, bytes(blocks * size))
      result[place(row, i)] = (value - zero) * Number(scales.data[row * blocks + block])
    }
  }
  return result
}

/** Weights of 4 or 8 bits in blocks become floats again: standard ONNX has no such product below opset 21. */
export const matMulNBits: Rule = (site) => {
  const { node } = site
  const [x, data, scale, zero, order, bias] = node.input
  if (order) return site.refuse('its rows are reordered')
  const [k, n] = ['K', 'N'].map((name) => intOf(node, name, 0))
  const weight = unpacked(packedOf(site, n, k, [data, scale, zero]), (row, i) => i * n + row) // (K, N)
  const product = site.add('MatMul', [x, site.store(float32([k, n], weight))], {}, bias ? undefined : node.output)
  if (bias) site.add('Add', [product, bias], {}, node.output)
}

/** Tables likewise: their rows become floats before they are picked. */
export const gatherBlockQuantized: Rule = (site) => {
  const { node } = site
  const [data, indices, scale, zero] = node.input
  const dims = site.stored(data)?.dims ?? []
  const [gathered, quantized] = [intOf(node, 'gather_axis', 0), intOf(node, 'quantize_axis', 1)]
  if (dims.length !== 2 || gathered !== 0 || quantized !== 1) return site.refuse('its table is not one of rows')
  const width = (dims[1] * 8) / intOf(node, 'bits', 4)
  const table = unpacked(packedOf(site, dims[0], width, [data, scale, zero]), (row, i) => row * width + i)
  site.add('Gather', [site.store(float32([dims[0], width], table)), indices], {}, node.output)
}
