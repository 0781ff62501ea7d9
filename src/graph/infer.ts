import type { GraphProto, ModelProto, ValueInfoProto } from './gen/onnx_pb.js'
import { inferNode, operatorName } from './operators.ts'
import { type Type, typeOf, unknown } from './shape.ts'
import { dataTypeOf, elements } from './tensor.ts'
import { fromProto } from './tensor-proto.ts'

/** Types of all values of a checked model by name; a value of which nothing is known has neither type nor shape. */
export function inferModel(model: ModelProto): Map<string, Type> {
  const types = new Map<string, Type>()
  if (model.graph) inferGraph(model.graph, types, [])
  return types
}

function inferGraph(graph: GraphProto, types: Map<string, Type>, given: readonly Type[]): Type[] {
  for (const tensor of graph.initializer) {
    const dims = tensor.dims.map(Number)
    const small = elements(dims) <= 64 && dataTypeOf(tensor.dataType) !== undefined
    types.set(tensor.name, small ? typeOf(fromProto(tensor)) : { dtype: dataTypeOf(tensor.dataType), shape: dims })
  }
  graph.input.forEach((value, i) => {
    if (types.has(value.name) && !given[i]) return
    const declared = declaredType(value)
    types.set(value.name, { dtype: given[i]?.dtype ?? declared.dtype, shape: given[i]?.shape ?? declared.shape })
  })
  const declared = new Map([...graph.valueInfo, ...graph.output].map((value) => [value.name, value]))
  for (const node of graph.node) {
    const inputs = node.input.map((name) => (name === '' ? undefined : types.get(name)))
    const where = `${operatorName(node)} "${node.name}"`
    const found = inferNode({ node, inputs, where, body: (body, inner) => inferGraph(body, types, inner) })
    node.output.forEach((name, i) => {
      const told = declared.get(name)
      const fallback = told ? declaredType(told) : { dtype: undefined, shape: undefined }
      types.set(name, { ...found[i], dtype: found[i].dtype ?? fallback.dtype, shape: found[i].shape ?? fallback.shape })
    })
  }
  return graph.output.map(({ name }) => types.get(name) ?? { dtype: undefined, shape: undefined })
}

function declaredType({ type }: ValueInfoProto): Type {
  if (type?.value.case !== 'tensorType') return { dtype: undefined, shape: undefined }
  const { elemType, shape } = type.value.value
  return {
    dtype: dataTypeOf(elemType),
    shape: shape?.dim.map(({ value }) => (value.case === 'dimValue' ? Number(value.value) : value.value || unknown())),
  }
}
