import { fail } from '../../base/errors.ts'
import type { Edit } from '../../graph/edit.ts'
import type { NodeProto } from '../../graph/gen/onnx_pb.js'
import { float32, tensor } from '../../graph/tensor.ts'
import type { Range } from './calibrate.ts'
import { type Layer, matrixOf, nodeOf } from './layers.ts'
import { quantizeChannels } from './scales.ts'

/** QuantizeLinear and DequantizeLinear take an axis from here on. */
const LEAST_OPSET = 13

/** The values whose ranges `quantizeStatic` needs: what goes into its layers, and what comes out of convolutions. */
export const observedBy = (edit: Edit, layers: readonly Layer[]): string[] => [
  ...new Set(
    layers.filter(quantizable).flatMap((layer) => {
      const node = nodeOf(edit, layer)
      return layer.kind === 'conv' ? [node.input[0], node.output[0]] : [node.input[0]]
    }),
  ),
]

export const quantizable = ({ kind }: Layer) => kind === 'matmul' || kind === 'gemm' || kind === 'conv'

/**
 * Puts QuantizeLinear and DequantizeLinear around products and convolutions, with ranges found beforehand: uint8 for
 * activations, int8 with a scale a channel for weights, int32 for biases of convolutions. onnxruntime fuses the three to
 * one kernel of integers. Throws UNSUPPORTED for graphs of opsets before 13.
 */
export function quantizeStatic(
  edit: Edit,
  layers: readonly Layer[],
  ranges: ReadonlyMap<string, Range>,
  { reduced }: { reduced: boolean },
) {
  if (edit.opset < LEAST_OPSET) {
    throw fail('UNSUPPORTED', {
      what: `static quantization of a graph of opset ${edit.opset}`,
      instead: `Convert it to opset ${LEAST_OPSET} or later.`,
    })
  }
  const limit = reduced ? 63 : 127
  const rounded = new Map<string, { value: string; scale: number; names: string[] }>()
  /** A value rounded to its range, made once however many layers use it; the nodes go before `user`. */
  const activation = (name: string, user: NodeProto) => {
    const known = rounded.get(name)
    if (known) return known
    const { low, high } = ranges.get(name)!
    const scale = (high - low || 1) / 255
    const names = [
      edit.store(`${name}.scale`, float32([], [scale])),
      edit.store(`${name}.zero`, tensor('uint8', [], Uint8Array.of(Math.round(-low / scale)))),
    ]
    const nodes = roundTrip(edit, name, names)
    edit.insertBefore(user, nodes)
    const made = { value: nodes[1].output[0], scale, names }
    rounded.set(name, made)
    return made
  }
  for (const layer of layers.filter(quantizable)) {
    const node = nodeOf(edit, layer)
    const [x, weight, bias] = node.input
    const input = activation(x, node)
    if (layer.kind === 'conv') {
      const { dims, data } = edit.tensor(weight)!
      const each = data.length / dims[0]
      const { values, scales } = quantizeChannels(data as Float32Array, dims[0], (i) => Math.floor(i / each), limit)
      const w = storedWeight(edit, weight, tensor('int8', dims, values), scales, 0)
      const b = bias === undefined || bias === '' ? undefined : storedBias(edit, bias, scales, input.scale)
      edit.insertBefore(node, [w, ...(b ? [b] : [])])
      const { low, high } = ranges.get(node.output[0])!
      const scale = (high - low || 1) / 255
      const names = [
        edit.store(`${node.output[0]}.scale`, float32([], [scale])),
        edit.store(`${node.output[0]}.zero`, tensor('uint8', [], Uint8Array.of(Math.round(-low / scale)))),
      ]
      const conv = {
        ...node,
        input: [input.value, w.output[0], ...(b ? [b.output[0]] : [])],
        output: [edit.name('Conv')],
      }
      edit.replace(node, [conv, ...roundTrip(edit, conv.output[0], names)])
      rounded.set(node.output[0], { value: node.output[0], scale, names })
      continue
    }
    const { data, rows, columns } = matrixOf(edit, node)
    const { values, scales } = quantizeChannels(data, columns, (i) => i % columns, limit)
    const w = storedWeight(edit, weight, tensor('int8', [rows, columns], values), scales, 1)
    const product = edit.make('MatMul', [input.value, w.output[0]])
    edit.replace(node, [w, product, ...(bias ? [edit.make('Add', [product.output[0], bias])] : [])])
  }
}

const roundTrip = (edit: Edit, name: string, [scale, zero]: readonly string[]) => {
  const quantized = edit.make('QuantizeLinear', [name, scale, zero])
  return [quantized, edit.make('DequantizeLinear', [quantized.output[0], scale, zero])]
}

function storedWeight(edit: Edit, name: string, q: ReturnType<typeof tensor>, scales: Float32Array, axis: number) {
  const [value, scale] = [edit.store(`${name}.int8`, q), edit.store(`${name}.scale`, float32([scales.length], scales))]
  const zero = edit.store(`${name}.zero`, tensor('int8', [scales.length], new Int8Array(scales.length)))
  return edit.make('DequantizeLinear', [value, scale, zero], { axis })
}

/** A bias as int32 at the scale of the sums it is added to. */
function storedBias(edit: Edit, name: string, weightScales: Float32Array, inputScale: number): NodeProto {
  const bias = edit.tensor(name)!.data as Float32Array
  const scales = weightScales.map((scale) => scale * inputScale)
  const values = Int32Array.from(bias, (value, c) =>
    Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.round(value / scales[c]))),
  )
  const [value, scale] = [
    edit.store(`${name}.int32`, tensor('int32', [values.length], values)),
    edit.store(`${name}.scale`, float32([scales.length], scales)),
  ]
  const zero = edit.store(`${name}.zero`, tensor('int32', [scales.length], new Int32Array(scales.length)))
  return edit.make('DequantizeLinear', [value, scale, zero], { axis: 0 })
}
