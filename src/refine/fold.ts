import { create } from '@bufbuild/protobuf'
import type ort from '../base/onnxruntime.ts'
import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import { Edit, reads } from '../graph/edit.ts'
import { GraphProtoSchema, type ModelProto, ModelProtoSchema, ValueInfoProtoSchema } from '../graph/gen/onnx_pb.js'
import { type DataType, dataTypes, elements, type TypedArray, tensor } from '../graph/tensor.ts'

/** Operators that give something else each time. */
const random = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
])
/** A folded value may be larger than what it is computed from by this many bytes: a file is not to grow for it. */
const GROWTH = 4096

/**
 * Computes what depends on stored tensors alone, once, by onnxruntime, and stores the results. What would make the file
 * larger stays (a Cast of half floats, a DequantizeLinear, a Range of thousands). Returns how many nodes went.
 */
export async function foldConstants(model: ModelProto): Promise<{ model: ModelProto; folded: number }> {
  const edit = new Edit(model)
  const constant = new Set<string>()
  const nodes = edit.nodes.filter((node) => {
    const inputs = reads(node)
    const foldable =
      !random.has(node.opType) &&
      inputs.every((name) => constant.has(name) || edit.isStored(name)) &&
      node.output[0] !== ''
    if (foldable) for (const name of node.output) constant.add(name)
    return foldable
  })
  if (nodes.length === 0) return { model: edit.finish(), folded: 0 }

  const uses = edit.uses()
  const frontier = nodes.flatMap((node) =>
    node.output.filter((name) => name !== '' && uses.get(name)?.some((user) => !nodes.includes(user))),
  )
  const needed = new Set(nodes.flatMap(reads))
  const part = create(ModelProtoSchema, {
    ...edit.model,
    graph: create(GraphProtoSchema, {
      name: 'constants',
      node: nodes,
      initializer: edit.graph.initializer.filter(({ name }) => needed.has(name)),
      output: frontier.map((name) => create(ValueInfoProtoSchema, { name })),
    }),
  })
  const results = await valuesOf(part)
  const before = edit.nodes.length
  for (const name of frontier) {
    const value = results[name]
    const { bytes, array } = dataTypes[value.type as DataType] ?? {}
    if (!array) continue // strings and types that we do not hold
    const sources = sourcesOf(name, nodes)
    const given = [...sources].reduce((sum, source) => {
      const proto = edit.graph.initializer.find((one) => one.name === source)
      return sum + (proto ? proto.rawData.byteLength || elements(proto.dims.map(Number)) * 4 : 0)
    }, 0)
    if (value.size * bytes > given + GROWTH) continue
    const stored = tensor(value.type as DataType, [...value.dims], value.data as TypedArray)
    const output = edit.graph.output.some((one) => one.name === name)
    if (output) continue // an output must be made by a node
    edit.reroute(name, edit.store(name, stored))
  }
  const folded = edit.finish()
  return { model: folded, folded: before - folded.graph!.node.length }
}

async function valuesOf(part: ModelProto): Promise<ort.InferenceSession.OnnxValueMapType> {
  const session = await openSession(writeModel(part), 1)
  try {
    return await session.run({})
  } finally {
    await session.release()
  }
}

/** The stored tensors that a constant value is computed from. */
function sourcesOf(name: string, nodes: readonly { input: string[]; output: string[] }[]): Set<string> {
  const makers = new Map(nodes.flatMap((node) => node.output.map((output) => [output, node] as const)))
  const found = new Set<string>()
  const seen = new Set<string>()
  const visit = (value: string) => {
    if (seen.has(value)) return
    seen.add(value)
    const maker = makers.get(value)
    if (maker) maker.input.forEach(visit)
    else found.add(value)
  }
  visit(name)
  return found
}
