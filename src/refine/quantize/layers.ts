import { floatOf, intOf, stringOf } from '../../graph/attributes.ts'
import type { Edit } from '../../graph/edit.ts'
import type { NodeProto } from '../../graph/gen/onnx_pb.js'

type LayerKind = 'matmul' | 'gemm' | 'conv' | 'lstm' | 'gather'

/** A node with a stored float32 weight that a quantizer may rewrite. */
export interface Layer {
  readonly kind: LayerKind
  /** Names the layer to people and in reports: its weight. */
  readonly weight: string
  /** The node's name of the first output, which rewriting keeps. */
  readonly output: string
  readonly dims: readonly number[]
}

/** Weights below this many numbers stay as they are: quantizing them saves nothing and costs a kernel launch. */
const LEAST_NUMBERS = 512

const float32 = 1

/** The layers of a graph, in its order. */
export function layersOf(edit: Edit): Layer[] {
  const types = new Map(edit.graph.initializer.map(({ name, dataType }) => [name, dataType]))
  return edit.nodes.flatMap((node) => {
    const kind = kindOf(node, edit)
    if (!kind) return []
    const weight = node.input[kind === 'gather' ? 0 : 1]
    const dims = edit.dims(weight)!
    if (types.get(weight) !== float32 || dims.reduce((a, b) => a * b, 1) < LEAST_NUMBERS) return []
    return [{ kind, weight, output: node.output.find((name) => name !== '')!, dims }]
  })
}

/** The node of a layer as the graph now is. */
export const nodeOf = (edit: Edit, { output }: Layer): NodeProto =>
  edit.nodes.find((node) => node.output.includes(output))!

function kindOf(node: NodeProto, edit: Edit): LayerKind | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined
  const rank = (at: number) => (node.input[at] ? edit.dims(node.input[at])?.length : undefined)
  if (node.opType === 'MatMul') return rank(1) === 2 ? 'matmul' : undefined
  if (node.opType === 'Gemm') {
    const plain = intOf(node, 'transA', 0) === 0 && floatOf(node, 'alpha', 1) === 1 && floatOf(node, 'beta', 1) === 1
    return plain && rank(1) === 2 ? 'gemm' : undefined
  }
  if (node.opType === 'Conv') return (rank(1) ?? 0) >= 3 && (!node.input[2] || rank(2) === 1) ? 'conv' : undefined
  if (node.opType === 'Gather') return intOf(node, 'axis', 0) === 0 && rank(0) === 2 ? 'gather' : undefined
  if (node.opType === 'LSTM') {
    const usual = intOf(node, 'layout', 0) === 0 && stringOf(node, 'direction', 'forward') !== 'reverse'
    return usual && rank(1) === 3 && rank(2) === 3 ? 'lstm' : undefined
  }
  return undefined
}

/** A stored matrix as (rows, columns) = (inputs, outputs), whichever way a Gemm holds it. */
export function matrixOf(edit: Edit, node: NodeProto): { data: Float32Array; rows: number; columns: number } {
  const { dims, data } = edit.tensor(node.input[1])!
  const values = data as Float32Array
  if (node.opType !== 'Gemm' || intOf(node, 'transB', 0) === 0) return { data: values, rows: dims[0], columns: dims[1] }
  const [columns, rows] = dims
  const turned = new Float32Array(values.length)
  for (let n = 0; n < columns; n++) for (let k = 0; k < rows; k++) turned[k * columns + n] = values[n * rows + k]
  return { data: turned, rows, columns }
}
