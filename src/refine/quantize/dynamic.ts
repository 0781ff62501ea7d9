import type { Edit } from '../../graph/edit.ts'
import type { NodeProto } from '../../graph/gen/onnx_pb.js'
import { dataTypes, float32, tensor } from '../../graph/tensor.ts'
import { type Layer, matrixOf, nodeOf } from './layers.ts'
import { quantizeChannels, transposed } from './scales.ts'

export interface DynamicOptions {
  /** Seven bits for weights instead of eight: for CPUs whose 8-bit products overflow. */
  reduced: boolean
}

/**
 * Rewrites layers so that activations are quantized as they come (DynamicQuantizeLinear) and products are of integers,
 * with one scale a column of the weights. Tables become integers with a scale a row. Standard operators but for LSTM,
 * which only onnxruntime has in this form. Convolutions stay as they are: onnxruntime's ConvInteger is slow.
 */
export function quantizeDynamic(edit: Edit, layers: readonly Layer[], { reduced }: DynamicOptions) {
  const limit = reduced ? 63 : 127
  const activations = new Map<string, string[]>()
  for (const layer of layers) {
    const node = nodeOf(edit, layer)
    if (layer.kind === 'matmul' || layer.kind === 'gemm') product(edit, node, limit, activations)
    else if (layer.kind === 'lstm') lstm(edit, node, limit)
    else if (layer.kind === 'gather') table(edit, node)
  }
}

/** x·W + b → (q(x) · q(W)) · (scale of x · scales of W) + b, in the order of nodes that onnxruntime fuses to one kernel. */
function product(edit: Edit, node: NodeProto, limit: number, activations: Map<string, string[]>) {
  const [x, weight, bias] = node.input
  const { data, rows, columns } = matrixOf(edit, node)
  const { values, scales } = quantizeChannels(data, columns, (i) => i % columns, limit)
  const q = edit.store(`${weight}.int8`, tensor('int8', [rows, columns], values))
  const scale = edit.store(`${weight}.scale`, float32([columns], scales))
  const nodes: NodeProto[] = []
  let quantized = activations.get(x)
  if (!quantized) {
    const outputs = [`${x}.q`, `${x}.scale`, `${x}.zero`]
    const dynamic = edit.make('DynamicQuantizeLinear', [x], {}, outputs)
    nodes.push(dynamic)
    quantized = dynamic.output
    activations.set(x, quantized)
  }
  const [xq, xScale, xZero] = quantized
  const integers = edit.make('MatMulInteger', [xq, q, xZero])
  const floats = edit.make('Cast', [integers.output[0]], { to: dataTypes.float32.onnx })
  const factor = edit.make('Mul', [xScale, scale])
  const scaled = edit.make('Mul', [floats.output[0], factor.output[0]])
  nodes.push(integers, floats, factor, scaled)
  if (bias) nodes.push(edit.make('Add', [scaled.output[0], bias]))
  edit.replace(node, nodes)
}

/** onnxruntime's DynamicQuantizeLSTM: weights (directions, inputs, 4 · hidden) as int8 with a scale a gate unit. */
function lstm(edit: Edit, node: NodeProto, limit: number) {
  const quantized = node.input.slice(1, 3).map((name) => {
    const { dims, data } = edit.tensor(name)!
    const [directions, gates, inputs] = dims // (directions, 4 · hidden, inputs)
    const values = new Int8Array(data.length)
    const scales = new Float32Array(directions * gates)
    for (let d = 0; d < directions; d++) {
      const part = (data as Float32Array).subarray(d * gates * inputs, (d + 1) * gates * inputs)
      const one = quantizeChannels(part, gates, (i) => Math.floor(i / inputs), limit)
      values.set(transposed(one.values, gates, inputs), d * gates * inputs)
      scales.set(one.scales, d * gates)
    }
    return [
      edit.store(`${name}.int8`, tensor('int8', [directions, inputs, gates], values)),
      edit.store(`${name}.scale`, float32([directions, gates], scales)),
      edit.store(`${name}.zero`, tensor('int8', [directions, gates], new Int8Array(directions * gates))),
    ]
  })
  const [w, r] = quantized
  const others = Array.from({ length: 5 }, (_, i) => node.input[i + 3] ?? '') // B, lengths, initial h and c, peepholes
  const attributes = node.attribute.filter(({ name }) => name !== 'layout')
  const inputs = [node.input[0], w[0], r[0], ...others, w[1], w[2], r[1], r[2]]
  const made = edit.make('DynamicQuantizeLSTM', inputs, {}, [], 'com.microsoft')
  made.attribute = attributes
  edit.replace(node, [made])
}

/** Rows of a table as int8, each with its scale: both are gathered, then multiplied. */
function table(edit: Edit, node: NodeProto) {
  const [weight, ids] = node.input
  const { dims, data } = edit.tensor(weight)!
  const { values, scales } = quantizeChannels(data as Float32Array, dims[0], (i) => Math.floor(i / dims[1]), 127)
  const q = edit.store(`${weight}.int8`, tensor('int8', dims, values))
  const scale = edit.store(`${weight}.scale`, float32([dims[0], 1], scales))
  const integers = edit.make('Gather', [q, ids], { axis: 0 })
  const floats = edit.make('Cast', [integers.output[0]], { to: dataTypes.float32.onnx })
  const factors = edit.make('Gather', [scale, ids], { axis: 0 })
  edit.replace(node, [integers, floats, factors, edit.make('Mul', [floats.output[0], factors.output[0]])])
}
