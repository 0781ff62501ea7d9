import { fail } from '../../base/errors.ts'
import type { DataType, Tensor } from '../../graph/tensor.ts'
import type { WrittenModel } from '../formats.ts'
import type { Files } from '../source.ts'
import type { AttrValue, NodeDef, TensorInfo, TensorShapeProto } from '../tensorflow/gen/tensorflow_pb.js'
import { tfTypes } from '../tensorflow/graphdef.ts'
import { tensorflowGraph } from '../tensorflow/write.ts'
import { writeWeights } from './weights.ts'

const names: Record<number, string> = { 1: 'DT_FLOAT', 3: 'DT_INT32', 10: 'DT_BOOL', 20: 'DT_RESOURCE' }
const typeName = (dtype: number): string => {
  const name = names[dtype]
  if (name) return name
  throw fail('UNSUPPORTED', {
    what: `an element type of this model in TensorFlow.js`,
    instead: 'It holds float32, int32 and bool. Export it as onnx, which browsers run as well.',
  })
}

/** A version as a TensorFlow.js graph model: model.json and weights in shards; whole numbers are int32. Throws UNSUPPORTED. */
export async function writeTfjsGraph({ model }: WrittenModel): Promise<Files> {
  const { graph, inputs, outputs } = tensorflowGraph(model, 'int32', 'TensorFlow.js')
  const weights: { name: string; tensor: Tensor }[] = []
  const node = graph.node.map((one) => {
    if (one.op === 'Const') weights.push({ name: one.name, tensor: tensorOf(one) })
    return describe(one)
  })
  const { manifest, files } = writeWeights(weights)
  const document = {
    format: 'graph-model',
    generatedBy: 'athanor',
    convertedBy: null,
    signature: { inputs: mapped(inputs), outputs: mapped(outputs) },
    modelTopology: { node, library: {}, versions: { producer: graph.versions!.producer } },
    weightsManifest: manifest,
  }
  return { 'model.json': new TextEncoder().encode(JSON.stringify(document)), ...files }
}

const arrays = { 1: Float32Array, 3: Int32Array, 10: Uint8Array } as const

function tensorOf({ attr }: NodeDef): Tensor {
  const value = attr.value.value.value as { dtype: number; tensorShape?: TensorShapeProto; tensorContent: Uint8Array }
  typeName(value.dtype)
  const [dtype] = Object.entries(tfTypes).find(([, number]) => number === value.dtype)!
  const data = new arrays[value.dtype as keyof typeof arrays](value.tensorContent.slice().buffer)
  return { dtype: dtype as DataType, dims: (value.tensorShape?.dim ?? []).map(({ size }) => Number(size)), data }
}

const shapeJson = ({ dim }: TensorShapeProto) => ({ dim: dim.map(({ size }) => ({ size: String(size) })) })
const mapped = (infos: Record<string, TensorInfo>) =>
  Object.fromEntries(
    Object.entries(infos).map(([key, { name, dtype, tensorShape }]) => [
      key,
      { name, dtype: typeName(dtype), tensorShape: shapeJson(tensorShape!) },
    ]),
  )

/** A node in protobuf's JSON; weights stay in their own files. */
const describe = ({ name, op, input, attr }: NodeDef) => ({
  name,
  op,
  ...(input.length > 0 && { input }),
  attr: Object.fromEntries(Object.entries(attr).map(([key, value]) => [key, attrJson(value)])),
})

function attrJson({ value }: AttrValue): unknown {
  if (value.case === 'type') return { type: typeName(value.value) }
  if (value.case === 'i') return { i: String(value.value) }
  if (value.case === 's') return { s: Buffer.from(value.value).toString('base64') }
  if (value.case === 'shape') return { shape: value.value.unknownRank ? { unknownRank: true } : shapeJson(value.value) }
  if (value.case === 'list') return { list: { i: value.value.i.map(String) } }
  if (value.case === 'tensor')
    return { tensor: { dtype: typeName(value.value.dtype), tensorShape: shapeJson(value.value.tensorShape!) } }
  return { [value.case!]: value.value }
}
