import type { AttributeProto, GraphProto, ModelProto, TensorProto } from './gen/onnx_pb.js'
import { AttributeProto_AttributeType as Kind } from './gen/onnx_pb.js'
import { inferModel } from './infer.ts'
import { operatorName } from './operators.ts'
import type { Type } from './shape.ts'
import { dataTypeOf, dataTypes } from './tensor.ts'

const LINE_LIMIT = 20_000

/** A model as lines that a person can read: signature, weights, one line a node with inferred shapes, totals. */
export function* printModel(model: ModelProto): Generator<string> {
  const graph = model.graph!
  const types = inferModel(model)
  const opsets = model.opsetImport.map(({ domain, version }) => `${domain || 'ai.onnx'} ${version}`).join(', ')
  yield `model of IR ${model.irVersion}, ${opsets}${model.producerName ? `, made by ${model.producerName} ${model.producerVersion}`.trimEnd() : ''}`
  let left = LINE_LIMIT
  for (const line of printGraph(graph, types, '')) {
    if (left-- === 0) {
      yield `… cut after ${LINE_LIMIT} lines`
      break
    }
    yield line
  }
  const parameters = graph.initializer.reduce((sum, tensor) => sum + count(tensor), 0)
  yield `${graph.node.length} nodes, ${parameters.toLocaleString('en')} numbers in ${graph.initializer.length} stored tensors`
}

function* printGraph(graph: GraphProto, types: ReadonlyMap<string, Type>, indent: string): Generator<string> {
  const typed = (name: string) => `%${name}: ${describe(types.get(name))}`
  const stored = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]))
  yield `${indent}graph ${graph.name}(${graph.input
    .filter(({ name }) => !stored.has(name))
    .map(({ name }) => typed(name))
    .join(', ')}) {`
  for (const tensor of stored.values()) {
    const dtype = dataTypeOf(tensor.dataType) ?? `type ${tensor.dataType}`
    yield `${indent}  ${tensor.name} = ${dtype}[${tensor.dims.join(', ')}]${preview(tensor)}`
  }
  for (const node of graph.node) {
    const plain = node.attribute.filter(({ g, graphs }) => !g && graphs.length === 0)
    const inputs = node.input.map((name) => (name === '' ? '_' : stored.has(name) ? name : `%${name}`)).join(', ')
    const attributes = plain.length > 0 ? ` {${plain.map(printAttribute).join(', ')}}` : ''
    yield `${indent}  ${node.output.map(typed).join(', ')} = ${operatorName(node)}(${inputs})${attributes}`
    for (const { g, graphs } of node.attribute) {
      for (const inner of [...(g ? [g] : []), ...graphs]) yield* printGraph(inner, types, `${indent}    `)
    }
  }
  yield `${indent}  return ${graph.output.map(({ name }) => `%${name}`).join(', ')}`
  yield `${indent}}`
}

const describe = (type: Type | undefined): string => {
  if (!type?.dtype) return '?'
  return type.shape
    ? `${type.dtype}[${type.shape.map((dim) => (String(dim).startsWith('?') ? '?' : dim)).join(', ')}]`
    : `${type.dtype}[…]`
}

const count = ({ dims }: TensorProto) => dims.reduce((product, dim) => product * Number(dim), 1)

/** The bytes of a large tensor, the numbers of a tiny one. */
function preview(tensor: TensorProto): string {
  const elements = count(tensor)
  const dtype = dataTypeOf(tensor.dataType)
  if (!dtype || dtype === 'string') return ''
  const { bytes, array } = dataTypes[dtype]
  if (elements > 4 || tensor.rawData.length === 0) return ` (${(elements * bytes).toLocaleString('en')} bytes)`
  return ` = ${[...new array(new Uint8Array(tensor.rawData).buffer)].join(', ')}`
}

function printAttribute({ name, type, f, i, s, t, floats, ints, strings }: AttributeProto): string {
  const text = (bytes: Uint8Array) => JSON.stringify(new TextDecoder().decode(bytes.subarray(0, 60)))
  const short = (list: readonly unknown[]) => `[${list.slice(0, 8).join(', ')}${list.length > 8 ? ', …' : ''}]`
  const value: Partial<Record<Kind, string>> = {
    [Kind.FLOAT]: String(Number(f.toPrecision(6))),
    [Kind.INT]: String(i),
    [Kind.STRING]: text(s),
    [Kind.FLOATS]: short(floats),
    [Kind.INTS]: short(ints),
    [Kind.STRINGS]: short(strings.map(text)),
    [Kind.TENSOR]: t ? `tensor[${t.dims.join(', ')}]` : 'tensor',
  }
  return `${name}=${value[type] ?? Kind[type]}`
}
