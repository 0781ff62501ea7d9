import { fail } from '../base/errors.ts'
import { intOf } from '../graph/attributes.ts'
import type { GraphProto, ModelProto, NodeProto, TensorProto } from '../graph/gen/onnx_pb.js'
import { float32 } from '../graph/tensor.ts'
import { toProto } from '../graph/tensor-proto.ts'

/** Marks the tensors of a new head: they start at random. */
export const FRESH = 'athanor: drawn anew'

/** Operators between the last layer and the output that only reshape or scale its answers. */
const after = new Set([
  'Softmax',
  'LogSoftmax',
  'Sigmoid',
  'Identity',
  'Flatten',
  'Squeeze',
  'Reshape',
  'GlobalAveragePool',
  'AveragePool',
  'ReduceMean',
  'Relu',
  'Cast',
])

/**
 * The model with another last layer, for `classes` answers: the Gemm, MatMul or 1 × 1 convolution nearest to the output,
 * its weights (and bias) drawn anew. Throws UNSUPPORTED where there is no such layer.
 */
export function withHead(model: ModelProto, output: string, classes: number): ModelProto {
  const graph = model.graph!
  const { node, weight, bias } = lastLayer(graph, output)
  const stored = (name: string) => graph.initializer.find((tensor) => tensor.name === name)!
  const dims = stored(weight).dims.map(Number)
  const shape =
    node.opType === 'Conv' || (node.opType === 'Gemm' && intOf(node, 'transB', 0) === 1)
      ? [classes, ...dims.slice(1)]
      : [...dims.slice(0, -1), classes]
  const fresh = (name: string, size: readonly number[]): TensorProto => ({
    ...toProto(float32(size, new Float32Array(size.reduce((a, b) => a * b, 1))), name),
    docString: FRESH,
  })
  const initializer = graph.initializer.map((tensor) => {
    if (tensor.name === weight) return fresh(weight, shape)
    // a bias keeps its rank: axes of size 1 before the classes
    return tensor.name === bias ? fresh(bias, [...tensor.dims.slice(0, -1).map(Number), classes]) : tensor
  })
  const outputs = graph.output.map((value) => (value.name === output ? withClasses(value, classes) : value))
  return { ...model, graph: { ...graph, initializer, valueInfo: [], output: outputs } }
}

function lastLayer(graph: GraphProto, output: string): { node: NodeProto; weight: string; bias: string | undefined } {
  const stored = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]))
  const uses = (name: string) => graph.node.filter(({ input }) => input.includes(name)).length
  let value = output
  let bias: string | undefined
  for (let steps = 0; steps < 16; steps++) {
    const node = graph.node.find((one) => one.output.includes(value))
    if (!node) break
    const { opType, input } = node
    if (opType === 'Add' && bias === undefined) {
      const at = stored.has(input[0]) ? 0 : 1
      if (!stored.has(input[at])) break
      bias = input[at]
      value = input[1 - at]
    } else if (after.has(opType)) value = input[0]
    else if (['Gemm', 'MatMul', 'Conv'].includes(opType)) {
      const [, weight, own] = input
      const found = stored.get(weight)
      const small = opType !== 'Conv' || (found?.dims.slice(2).every((dim) => dim === 1n) ?? false)
      if (found?.dataType !== 1 || !small || uses(weight) > 1) break
      return { node, weight, bias: own || bias }
    } else break
  }
  throw fail('UNSUPPORTED', {
    what: 'a new head for this model: no linear layer with stored weights stands before its output',
    instead: 'Train it without --head, or export it with such a layer.',
  })
}

function withClasses(value: GraphProto['output'][number], classes: number): GraphProto['output'][number] {
  if (value.type?.value.case !== 'tensorType') return value
  const tensor = value.type.value.value
  const dims = tensor.shape?.dim ?? []
  // the classes are the last axis but for axes of size 1 behind them
  const at = dims.findLastIndex(({ value: dim }) => !(dim.case === 'dimValue' && dim.value === 1n))
  const dim = dims.map((one, i) =>
    i === at ? { ...one, value: { case: 'dimValue' as const, value: BigInt(classes) } } : one,
  )
  const shape = tensor.shape && { ...tensor.shape, dim }
  return {
    ...value,
    type: { ...value.type, value: { case: 'tensorType', value: { ...tensor, ...(shape && { shape }) } } },
  }
}
