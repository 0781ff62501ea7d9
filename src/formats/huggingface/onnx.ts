import { fail } from '../../base/errors.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import type { Tensor } from '../../graph/tensor.ts'
import { fromProto } from '../../graph/tensor-proto.ts'
import type { EncoderConfig } from '../../nn/bert.ts'
import { type EncoderHead, encoderParameters } from '../../nn/encoders.ts'
import { publishedName } from './names.ts'

/**
 * The weights of an encoder from its ONNX graph, by the names they had in PyTorch. Tables, norms and biases keep their names
 * there; the matrix of a product is stored transposed under a number, and is known by the bias that is added to the product.
 * Throws UNSUPPORTED for graphs whose products were fused or quantized.
 */
export function onnxWeights({ graph }: ModelProto, config: EncoderConfig, head: EncoderHead): Map<string, Tensor> {
  const stored = new Map(graph!.initializer.map((tensor) => [tensor.name, tensor]))
  const found = new Map<string, Tensor>()
  const body = `${config.layout}.`
  // an exported body has no prefix, or one of the program that exported it
  const named = (name: string) => {
    const bare = name.replace(body, '')
    return [name, bare, `model.${name}`, `model.${bare}`].map((one) => stored.get(one)).find(Boolean)
  }
  const makers = new Map(graph!.node.flatMap((node) => node.output.map((output) => [output, node] as const)))
  // a matrix that kept its name may stand in a product as it is, that is transposed
  const multiplied = new Set(graph!.node.flatMap(({ opType, input }) => (opType === 'MatMul' ? [input[1]] : [])))
  const factors = new Map<string, { matrix: string; transposed: boolean }>()
  for (const node of graph!.node) {
    if (node.opType === 'Gemm') {
      const transposed = node.attribute.some(({ name, i }) => name === 'transB' && i === 1n)
      if (node.input[2]) factors.set(node.input[2], { matrix: node.input[1], transposed: !transposed })
    } else if (node.opType === 'Add') {
      const [bias, product] = stored.has(node.input[0]) ? node.input : [node.input[1], node.input[0]]
      const maker = makers.get(product)
      if (stored.has(bias) && maker?.opType === 'MatMul')
        factors.set(bias, { matrix: maker.input[1], transposed: true })
    }
  }
  for (const { name: path } of encoderParameters(config, head)) {
    const name = publishedName(path, config.layout, head.task)
    const own = named(name)
    if (own) {
      const tensor = fromProto(own)
      found.set(name, multiplied.has(own.name) ? transposed(tensor) : tensor)
      continue
    }
    const bias = named(name.replace(/weight$/, 'bias'))
    const factor = bias && factors.get(bias.name)
    const matrix = factor && stored.get(factor.matrix)
    if (!matrix)
      throw fail('UNSUPPORTED', {
        what: `an ONNX graph without the tensor ${name} (fused, quantized or renamed)`,
        instead: 'Give the folder with model.safetensors, or import the ONNX file alone: athanor import model.onnx',
      })
    const tensor = fromProto(matrix)
    found.set(name, factor.transposed ? transposed(tensor) : tensor)
  }
  return found
}

function transposed({ dtype, dims, data }: Tensor): Tensor {
  const [rows, columns] = dims
  const from = data as Float32Array
  const to = new (from.constructor as typeof Float32Array)(from.length)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) to[column * rows + row] = from[row * columns + column]
  return { dtype, dims: [columns, rows], data: to }
}
