import { create } from '@bufbuild/protobuf'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import { GraphProtoSchema, type ModelProto, ValueInfoProtoSchema } from '../graph/gen/onnx_pb.js'
import type { DataType, TypedArray } from '../graph/tensor.ts'
import { toProto } from '../graph/tensor-proto.ts'

/** Tensors of more elements are weights, not settings. */
const SMALL = 1024

/**
 * The model with what it computes from constants alone (pads, axes, shapes: exporters write long chains for them)
 * computed once and stored. Weights, and what is computed from them, stay as they are.
 */
export async function foldConstants(model: ModelProto): Promise<ModelProto> {
  const graph = model.graph!
  const stored = graph.initializer.filter(({ dims, dataType }) => {
    const count = dims.reduce((a, b) => a * Number(b), 1)
    return count <= 1 || (dataType !== 1 && count <= SMALL)
  })
  const constant = new Set(stored.map(({ name }) => name))
  const done = new Set<(typeof graph.node)[number]>()
  for (const node of graph.node) {
    const { opType, input, output, attribute } = node
    if (opType.startsWith('Random') || opType === 'Bernoulli' || attribute.some(({ g }) => g)) continue
    if (opType !== 'Constant' && input.length === 0) continue
    if (!input.every((name) => name === '' || constant.has(name))) continue
    done.add(node)
    for (const name of output) if (name !== '') constant.add(name)
  }
  const computed = new Set([...done].filter(({ opType }) => opType !== 'Constant').flatMap(({ output }) => output))
  if (computed.size === 0) return model
  const wanted = new Set([
    ...graph.node.filter((node) => !done.has(node)).flatMap(({ input }) => input.filter((name) => computed.has(name))),
    ...graph.output.flatMap(({ name }) => (computed.has(name) ? [name] : [])),
  ])
  const part: ModelProto = {
    ...model,
    graph: create(GraphProtoSchema, {
      name: 'constants',
      node: [...done],
      initializer: stored,
      output: [...wanted].map((name) => create(ValueInfoProtoSchema, { name })),
    }),
  }
  const session = await ort.InferenceSession.create(writeModel(part), { logSeverityLevel: 4 })
  const results = wanted.size > 0 ? await session.run({}) : {}
  await session.release()
  const made = Object.entries(results).map(([name, { type, dims, data }]) =>
    toProto({ dtype: type as DataType, dims: [...dims], data: data as TypedArray | string[] }, name),
  )
  const node = graph.node.filter((one) => !done.has(one) || one.opType === 'Constant')
  return { ...model, graph: { ...graph, node, initializer: [...graph.initializer, ...made] } }
}
