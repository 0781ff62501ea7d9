import type { Edit } from '../../graph/edit.ts'
import { float32, tensor } from '../../graph/tensor.ts'
import { type Layer, matrixOf, nodeOf } from './layers.ts'
import { quantizeBlocks, transposed } from './scales.ts'

export interface BlockOptions {
  bits: 4 | 8
  /** Numbers that share a scale: 16, 32, 64, 128 or 256. */
  block: number
}

/**
 * Rewrites products so that their weights are stored as integers in blocks (onnxruntime's MatMulNBits), and tables
 * likewise (GatherBlockQuantized); activations stay floats between nodes. Convolutions and LSTMs stay as they are.
 */
export function quantizeWeights(edit: Edit, layers: readonly Layer[], { bits, block }: BlockOptions) {
  for (const layer of layers) {
    const node = nodeOf(edit, layer)
    if (layer.kind === 'gather') {
      const [weight, ids] = node.input
      const { dims, data } = edit.tensor(weight)!
      const [rows, width] = dims
      const { packed, scales, blocks, bytes } = quantizeBlocks(data as Float32Array, width, rows, block, bits)
      // the operator wants no padding: a width that is no multiple of the block stays as it is
      if (width % block !== 0) continue
      const q = edit.store(`${weight}.int${bits}`, tensor('uint8', [rows, blocks * bytes], packed))
      const scale = edit.store(`${weight}.scale`, float32([rows, blocks], scales))
      const attributes = { bits, block_size: block, gather_axis: 0, quantize_axis: 1 }
      edit.replace(node, [edit.make('GatherBlockQuantized', [q, ids, scale], attributes, ['Gather'], 'com.microsoft')])
    } else if (layer.kind === 'matmul' || layer.kind === 'gemm') {
      const [x, weight, bias] = node.input
      const { data, rows, columns } = matrixOf(edit, node)
      const turned = transposed(data, rows, columns) // (outputs, inputs)
      const { packed, scales, blocks, bytes } = quantizeBlocks(turned, rows, columns, block, bits)
      const q = edit.store(`${weight}.int${bits}`, tensor('uint8', [columns, blocks, bytes], packed))
      const scale = edit.store(`${weight}.scale`, float32([columns * blocks], scales))
      // level 4 lets the kernel compute with 8-bit activations
      const attributes = { K: rows, N: columns, bits, block_size: block, accuracy_level: 4 }
      const product = edit.make('MatMulNBits', [x, q, scale], attributes, ['MatMul'], 'com.microsoft')
      edit.replace(node, bias ? [product, edit.make('Add', [product.output[0], bias])] : [product])
    }
  }
}
