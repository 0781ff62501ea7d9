import { fail } from '../base/errors.ts'
import { attribute, floatOf, intOf, intsOf, stringOf } from './attributes.ts'
import type { GraphBuilder, Value } from './builder.ts'
import type { NodeProto } from './gen/onnx_pb.js'
import * as o from './ops.ts'
import { axisOf } from './shape.ts'
import { float32, fromNumbers, int64 } from './tensor.ts'

type Inputs = readonly (Value | undefined)[]
/** Adds to the graph what a node of an older operator set, or of another domain, means; as many outputs as it uses. */
export type Rewrite = (graph: GraphBuilder, node: NodeProto, inputs: Inputs, opset: number) => Value[]

/** The node as it is, but for attributes that became inputs: appended in the order given. */
const toInputs =
  (names: readonly string[], from = 1): Rewrite =>
  (graph, node, inputs) => {
    const given = names.map((name) => intsOf(node, name))
    if (given.every((values) => values === undefined)) return graph.copy(node, inputs, node.output)
    const rest = node.attribute.filter(({ name }) => !names.includes(name))
    const made = given.map((values) => values && graph.constant(int64([values.length], values)))
    const all = [...inputs.slice(0, from), ...made]
    return graph.copy({ ...node, attribute: rest }, all, node.output)
  }

const scalar = (graph: GraphBuilder, like: Value, value: number) => graph.constant(fromNumbers(like.dtype, [], [value]))

const without = (node: NodeProto, ...names: string[]): NodeProto => ({
  ...node,
  attribute: node.attribute.filter(({ name }) => !names.includes(name)),
})

/** Before opset 13 all axes from `axis` on were taken as one, and the default was 1. */
const softmax: Rewrite = (graph, node, [x], opset) => {
  if (opset >= 13) return graph.copy(node, [x], node.output)
  const axis = axisOf(intOf(node, 'axis', 1), x!.shape.length, node.name)
  const last = { ...node, attribute: [attribute('axis', -1)] }
  if (axis === x!.shape.length - 1) return graph.copy(last, [x], node.output)
  const flat = graph.node('Flatten', [x], { axis })[0]
  const [y] = graph.copy(last, [flat])
  return [o.reshape(y, o.shapeValue(x!))]
}

const resize: Rewrite = (graph, node, inputs, opset) => {
  if (node.opType === 'Resize' && opset >= 11) return graph.copy(node, inputs, node.output)
  const stored = node.attribute.find(({ name }) => name === 'scales')?.floats
  const scales = stored ? graph.constant(float32([stored.length], stored)) : inputs[1]
  const mode = stringOf(node, 'mode', 'nearest')
  const attributes = { mode, coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }
  return graph.node('Resize', [inputs[0], undefined, scales], attributes, node.output)
}

const clip: Rewrite = (graph, node, inputs, opset) => {
  if (opset >= 11) return graph.copy(node, inputs, node.output)
  const bound = (name: string) =>
    node.attribute.some((one) => one.name === name) ? scalar(graph, inputs[0]!, floatOf(node, name, 0)) : undefined
  return graph.copy(without(node, 'min', 'max'), [inputs[0], bound('min'), bound('max')], node.output)
}

const reduction = toInputs(['axes'])

/** What operators of older sets become in the set that we build with. */
const older: Record<string, Rewrite> = {
  ...Object.fromEntries(
    ['Sum', 'Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'LogSum', 'LogSumExp', 'SumSquare'].map((name) => [
      `Reduce${name}`,
      reduction,
    ]),
  ),
  Squeeze: toInputs(['axes']),
  Unsqueeze: toInputs(['axes']),
  Slice: toInputs(['starts', 'ends', 'axes']),
  Split: (graph, node, inputs, opset) => {
    if (intsOf(node, 'split')) return toInputs(['split'])(graph, node, inputs, opset)
    if (inputs[1] || node.attribute.some(({ name }) => name === 'num_outputs'))
      return graph.copy(node, inputs, node.output)
    const attributes = [...node.attribute, attribute('num_outputs', node.output.length)]
    return graph.copy({ ...node, attribute: attributes }, inputs, node.output)
  },
  Pad: (graph, node, inputs, opset) => {
    if (opset >= 11) return graph.copy(node, inputs, node.output)
    const pads = intsOf(node, 'pads') ?? []
    const all = [
      inputs[0],
      graph.constant(int64([pads.length], pads)),
      scalar(graph, inputs[0]!, floatOf(node, 'value', 0)),
    ]
    return graph.copy(without(node, 'pads', 'value'), all, node.output)
  },
  TopK: (graph, node, inputs, opset) =>
    opset >= 10
      ? graph.copy(node, inputs, node.output)
      : graph.copy(without(node, 'k'), [inputs[0], graph.constant(int64([1], [intOf(node, 'k', 1)]))], node.output),
  Clip: clip,
  Softmax: softmax,
  LogSoftmax: softmax,
  Resize: resize,
  Upsample: resize,
  Scatter: (graph, node, inputs) => graph.copy({ ...node, opType: 'ScatterElements' }, inputs, node.output),
  // a model that is taken up again rests: masks are drawn by who trains it
  Dropout: (graph, node, inputs) => {
    if ((node.output[1] ?? '') !== '') {
      const what = `Dropout "${node.name}" with a mask that the model uses`
      throw fail('UNSUPPORTED', { what, instead: 'Export the model for inference.' })
    }
    return graph.node('Identity', [inputs[0]], {}, [node.output[0]])
  },
  BatchNormalization: (graph, node, inputs) =>
    graph.copy(
      without(node, 'spatial', 'is_test', 'consumed_inputs', 'momentum', 'training_mode'),
      inputs.slice(0, 5),
      node.output.slice(0, 1),
    ),
}

/** Adds a node of opset `opset` of ai.onnx as the newest one has it. */
export const upgraded: Rewrite = (graph, node, inputs, opset) =>
  node.domain === '' || node.domain === 'ai.onnx'
    ? (older[node.opType] ?? plain)(graph, node, inputs, opset)
    : plain(graph, node, inputs, opset)

const plain: Rewrite = (graph, node, inputs) => graph.copy(node, inputs, node.output)
