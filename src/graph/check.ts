import { fail } from '../base/errors.ts'
import {
  type AttributeProto,
  type GraphProto,
  TensorProto_DataLocation as Location,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from './gen/onnx_pb.js'
import { dataTypeOf, dataTypes } from './tensor.ts'

const NODE_LIMIT = 200_000
const RANK_LIMIT = 64
const DEPTH_LIMIT = 16

/** Operators may come from these domains; others would need a library that is not here. */
const domains = new Set(['', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft', 'com.ms.internal.nhwc'])

const refuse = (reason: string) => fail('MODEL_INVALID', { reason })
const quoted = (name: string) => `"${name.slice(0, 80)}"`

/**
 * Holds a model to what ONNX promises: every value defined once and before its use (so no cycles), tensors with exactly
 * the bytes that their shape says, nothing outside the file, known operator domains, functions that do not call
 * themselves. Throws MODEL_INVALID.
 */
export function checkModel(model: ModelProto) {
  if (!model.graph) throw refuse('it has no graph')
  if (model.opsetImport.length === 0) throw refuse('it names no operator set')
  if (model.trainingInfo.length > 0) throw refuse('it carries training information, which is not supported')
  const functions = new Set(model.functions.map(({ domain, name }) => `${domain}:${name}`))
  const count = { nodes: 0 }
  for (const { node, name } of model.functions) {
    for (const inner of node) checkDomain(inner, functions)
    count.nodes += node.length
    if (!name) throw refuse('a function without a name')
  }
  checkCalls(model)
  checkGraph(model.graph, new Set(), functions, count, 0)
}

function checkGraph(
  graph: GraphProto,
  outer: ReadonlySet<string>,
  functions: ReadonlySet<string>,
  count: { nodes: number },
  depth: number,
) {
  if (depth > DEPTH_LIMIT) throw refuse(`graphs nested deeper than ${DEPTH_LIMIT}`)
  count.nodes += graph.node.length
  if (count.nodes > NODE_LIMIT) throw refuse(`more than ${NODE_LIMIT} nodes`)
  const inputs = new Set(graph.input.map(({ name }) => name))
  if (inputs.size !== graph.input.length) throw refuse('two inputs of one name')
  const defined = new Set(inputs)
  for (const tensor of graph.initializer) {
    checkTensor(tensor)
    if (!tensor.name) throw refuse('an initializer without a name')
    if (defined.has(tensor.name) && !inputs.has(tensor.name))
      throw refuse(`two initializers named ${quoted(tensor.name)}`)
    defined.add(tensor.name)
  }
  for (const { values, indices } of graph.sparseInitializer) {
    if (values) {
      checkTensor(values)
      defined.add(values.name)
    }
    if (indices) checkTensor(indices)
  }
  // a value that a later node makes is either out of order or part of a cycle
  const made = new Set(graph.node.flatMap(({ output }) => output))
  for (const node of graph.node) {
    checkDomain(node, functions)
    for (const name of node.input) {
      if (name === '' || defined.has(name) || outer.has(name)) continue
      const why = made.has(name) ? 'before it is made (a cycle, or nodes out of order)' : 'that nothing makes'
      throw refuse(`${node.opType} ${quoted(node.name)} uses ${quoted(name)} ${why}`)
    }
    for (const attribute of node.attribute)
      checkAttribute(attribute, new Set([...outer, ...scopeOf(node, defined)]), functions, count, depth)
    for (const name of node.output) {
      if (name === '') continue
      if (defined.has(name)) throw refuse(`${quoted(name)} is made twice`)
      defined.add(name)
    }
  }
  for (const { name } of graph.output) {
    if (!defined.has(name) && !outer.has(name)) throw refuse(`the output ${quoted(name)} is made by no node`)
  }
}

/** Only nodes with subgraphs need the names around them; copying them for every node would be quadratic. */
const scopeOf = ({ attribute }: NodeProto, defined: ReadonlySet<string>): Iterable<string> =>
  attribute.some(({ g, graphs }) => g || graphs.length > 0) ? defined : []

function checkAttribute(
  attribute: AttributeProto,
  scope: ReadonlySet<string>,
  functions: ReadonlySet<string>,
  count: { nodes: number },
  depth: number,
) {
  const { g, graphs, t, tensors, sparseTensor, sparseTensors } = attribute
  if (t) checkTensor(t)
  for (const tensor of tensors) checkTensor(tensor)
  for (const sparse of [...(sparseTensor ? [sparseTensor] : []), ...sparseTensors]) {
    if (sparse.values) checkTensor(sparse.values)
    if (sparse.indices) checkTensor(sparse.indices)
  }
  for (const graph of [...(g ? [g] : []), ...graphs]) checkGraph(graph, scope, functions, count, depth + 1)
}

function checkDomain({ domain, opType, name }: NodeProto, functions: ReadonlySet<string>) {
  if (domains.has(domain) || functions.has(`${domain}:${opType}`)) return
  throw refuse(`${opType} ${quoted(name)} is of the operator domain ${quoted(domain)}, which is not known here`)
}

/** A function that reaches itself would be inlined without end. */
function checkCalls({ functions }: ModelProto) {
  const calls = new Map(
    functions.map(({ domain, name, node }) => [`${domain}:${name}`, node.map((n) => `${n.domain}:${n.opType}`)]),
  )
  const state = new Map<string, 'open' | 'done'>()
  const visit = (name: string, depth: number) => {
    if (depth > DEPTH_LIMIT) throw refuse('functions that call each other too deeply')
    if (state.get(name) === 'open') throw refuse(`the function ${quoted(name)} calls itself`)
    if (state.get(name) === 'done') return
    state.set(name, 'open')
    for (const callee of calls.get(name) ?? []) if (calls.has(callee)) visit(callee, depth + 1)
    state.set(name, 'done')
  }
  for (const name of calls.keys()) visit(name, 0)
}

/** The bytes a shape and element type ask for against those that are there. */
function checkTensor(tensor: TensorProto) {
  const where = `tensor ${quoted(tensor.name)}`
  if (tensor.dataLocation === Location.EXTERNAL || tensor.externalData.length > 0) {
    throw refuse(`${where} keeps its data in another file; save the model as one file`)
  }
  if (tensor.segment) throw refuse(`${where} is stored in segments`)
  if (tensor.dims.length > RANK_LIMIT) throw refuse(`${where} has ${tensor.dims.length} dimensions`)
  let count = 1
  for (const dim of tensor.dims) {
    if (dim < 0n) throw refuse(`${where} has a negative dimension`)
    count *= Number(dim)
    if (!Number.isSafeInteger(count)) throw refuse(`${where} claims more elements than can be counted`)
  }
  const dtype = dataTypeOf(tensor.dataType)
  const { rawData } = tensor
  if (rawData.length > 0) {
    if (dtype === 'string') throw refuse(`${where} keeps strings as raw bytes`)
    const bytes = dtype ? count * dataTypes[dtype].bytes : undefined
    const few = bytes === undefined && rawData.length > count * 16 // 128-bit complex is the widest there is
    if ((bytes !== undefined && bytes !== rawData.length) || few) {
      throw refuse(
        `${where} has ${rawData.length} bytes, but its shape [${tensor.dims.slice(0, 8)}] asks for ${bytes ?? 'fewer'}`,
      )
    }
    return
  }
  const { floatData, int32Data, int64Data, doubleData, uint64Data, stringData } = tensor
  const lists = [floatData, int32Data, int64Data, doubleData, uint64Data, stringData].filter((list) => list.length > 0)
  const most = Math.max(0, ...lists.map(({ length }) => length))
  // complex numbers take two entries; sub-byte and packed types take fewer than one an element
  const exact = dtype !== undefined
  if (exact ? most !== count : most > 2 * count || (count > 0 && most * 16 < count)) {
    throw refuse(`${where} has ${most} elements, but its shape [${tensor.dims.slice(0, 8)}] asks for ${count}`)
  }
}
