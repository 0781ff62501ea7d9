import { fail } from '../../base/errors.ts'
import type { GraphBuilder, Value } from '../../graph/builder.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { invalid } from '../source.ts'
import type { FunctionDef, NodeDef } from './gen/tensorflow_pb.js'
import { readLoop } from './loop.ts'
import { Reading, readers } from './readers.ts'
import { tensorOfProto } from './tensors.ts'

const FORMAT = 'TensorFlow'
/** Nodes that are read, functions called within functions, and operators named in a refusal. */
const NODE_LIMIT = 200_000
const DEPTH_LIMIT = 64
const NAMED_LIMIT = 20

/** A list of tensors, which loops read one by one (`rows` stacks them) or write. */
export interface ListItem {
  readonly kind: 'list'
  readonly rows?: Value
}

/** What flows along an edge: a tensor, a variable by its name, a list of tensors, the texts of a constant. */
export type Item =
  | { readonly kind: 'value'; readonly value: Value }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'texts'; readonly texts: readonly string[] }
  | ListItem
  | { readonly kind: 'nothing' }

export const valueItem = (value: Value): Item => ({ kind: 'value', value })

/** What a graph is read with: its functions, its variables, and what was read so far. */
export interface Flow {
  readonly functions: ReadonlyMap<string, FunctionDef>
  variable(name: string): Tensor
  readonly stored: Map<string, Value>
  count: number
}

/** Nodes that see one another by name: the graph itself, or the body of a function with its arguments. */
export interface Frame {
  readonly graph: GraphBuilder
  readonly nodes: ReadonlyMap<string, NodeDef>
  readonly results: Map<string, readonly Item[]>
  readonly depth: number
}

export const frameOf = (graph: GraphBuilder, nodes: readonly NodeDef[], depth: number): Frame => ({
  graph,
  nodes: new Map(nodes.map((node) => [node.name, node])),
  results: new Map(),
  depth,
})

/** Outputs of operators that have several under different names, in order. */
const outputNames: Record<string, readonly string[]> = {
  FusedBatchNormV3: ['y', 'batch_mean', 'batch_variance'],
  TopKV2: ['values', 'indices'],
}

/** `name`, `name:1`, and in functions `name:output:1`: the node and which of its outputs. */
function edge(frame: Frame, reference: string): { name: string; at: number } {
  const [name, ...rest] = reference.split(':')
  const at = Number(rest.at(-1) ?? 0)
  if (!Number.isInteger(at) || at < 0 || rest.length > 2) throw invalid(FORMAT, `an edge "${reference.slice(0, 120)}"`)
  if (rest.length < 2) return { name, at }
  const named = outputNames[frame.nodes.get(name)?.op ?? '']
  return { name, at: at + Math.max(0, named?.indexOf(rest[0]) ?? 0) }
}

const isControl = (input: string) => input.startsWith('^')

/** The items at the given edges; everything that they depend on is read first, each node once. */
export function evaluate(flow: Flow, frame: Frame, references: readonly string[]): Item[] {
  for (const node of orderOf(frame, references)) {
    if (++flow.count > NODE_LIMIT) throw invalid(FORMAT, `more than ${NODE_LIMIT} nodes`)
    const inputs = node.input.filter((input) => !isControl(input)).map((input) => itemAt(frame, input))
    frame.results.set(node.name, read(flow, frame, node, inputs))
  }
  return references.map((reference) => itemAt(frame, reference))
}

function itemAt(frame: Frame, reference: string): Item {
  const { name, at } = edge(frame, reference)
  return frame.results.get(name)?.[at] ?? { kind: 'nothing' }
}

/** Nodes in an order in which each comes after those that it needs. Throws FORMAT_INVALID for missing ones and cycles. */
function orderOf(frame: Frame, references: readonly string[]): NodeDef[] {
  const order: NodeDef[] = []
  const open = new Set<string>()
  const done = new Set(frame.results.keys())
  const stack = references.map((reference) => ({ name: edge(frame, reference).name, entered: false })).reverse()
  while (stack.length > 0) {
    const top = stack.at(-1)!
    if (done.has(top.name)) stack.pop()
    else if (top.entered) {
      open.delete(top.name)
      done.add(top.name)
      order.push(frame.nodes.get(top.name)!)
      stack.pop()
    } else {
      const node = frame.nodes.get(top.name)
      if (!node) throw invalid(FORMAT, `no node "${top.name.slice(0, 120)}"`)
      top.entered = true
      open.add(top.name)
      for (const input of node.input) {
        if (isControl(input)) continue
        const { name } = edge(frame, input)
        if (open.has(name)) throw invalid(FORMAT, `the node "${name.slice(0, 120)}" feeds itself`)
        if (!done.has(name)) stack.push({ name, entered: false })
      }
    }
  }
  return order
}

function read(flow: Flow, frame: Frame, node: NodeDef, inputs: readonly Item[]): readonly Item[] {
  const { op } = node
  if (op === 'Const') return [constantOf(frame, node)]
  if (variables.has(op)) return [{ kind: 'variable', name: variableName(node) }]
  if (passing.has(op)) return inputs.map((item) => settled(flow, frame, op, item))
  if (op === 'PartitionedCall' || op === 'StatefulPartitionedCall')
    return call(flow, frame, functionOf(node, 'f'), inputs)
  if (op === 'While' || op === 'StatelessWhile') return readLoop(flow, frame, node, inputs)
  if (op === 'TensorListReserve') return [{ kind: 'list' }]
  if (op === 'TensorListFromTensor') return [{ kind: 'list', rows: tensorIn(inputs[0], node) }]
  if (op === 'TensorListStack') {
    const [list] = inputs
    if (list?.kind !== 'list' || !list.rows) throw invalid(FORMAT, `"${node.name.slice(0, 120)}" stacks no list`)
    return [valueItem(list.rows)]
  }
  const values = inputs.map((input) => (input.kind === 'texts' ? undefined : tensorIn(input, node)))
  const rule = Object.hasOwn(readers, op) ? readers[op] : undefined
  if (!rule) throw unknownOperators([op])
  const outputs = rule(new Reading(frame.graph, node, values as Value[]))
  return [outputs].flat().map(valueItem)
}

/** Operators whose outputs are their inputs; of `ReadVariableOp` it is the variable's value. */
const passing = new Set(
  'Identity IdentityN StopGradient PreventGradient Snapshot EnsureShape ReadVariableOp NoOp'.split(' '),
)
const variables = new Set(['VarHandleOp', 'VariableV2', 'Variable'])
const others =
  'Const Placeholder PlaceholderWithDefault PartitionedCall StatefulPartitionedCall While StatelessWhile TensorListReserve TensorListFromTensor TensorListStack'
/** Every operator that is read. */
export const known = new Set([...Object.keys(readers), ...passing, ...variables, ...others.split(' ')])
/** What the bodies of loops have besides. */
const inLoops = new Set(['TensorListGetItem', 'TensorListSetItem'])

export const variableName = ({ name, attr }: NodeDef): string => {
  const shared = attr.shared_name?.value
  const given = shared?.case === 's' ? new TextDecoder().decode(shared.value) : ''
  return given || name
}

const settled = (flow: Flow, frame: Frame, op: string, item: Item): Item =>
  op === 'ReadVariableOp' && item.kind === 'variable' ? valueItem(storedIn(flow, frame, item.name)) : item

/** A variable as a stored tensor of the outermost graph, once. */
function storedIn(flow: Flow, { graph }: Frame, name: string): Value {
  const found = flow.stored.get(name)
  if (found) return found
  let outermost = graph
  while (outermost.parent) outermost = outermost.parent
  const value = outermost.initializer(name, flow.variable(name))
  flow.stored.set(name, value)
  return value
}

const STRING = 7
/** Larger constants are stored as weights are, under the name of their node. */
const SMALL = 64

function constantOf({ graph }: Frame, node: NodeDef): Item {
  const value = node.attr.value?.value
  const where = `the constant "${node.name.slice(0, 120)}"`
  if (value?.case !== 'tensor') throw invalid(FORMAT, `${where} has no value`)
  if (value.value.dtype === STRING)
    return { kind: 'texts', texts: value.value.stringVal.map((bytes) => new TextDecoder().decode(bytes)) }
  const tensor = tensorOfProto(value.value, where)
  if (tensor.data.length <= SMALL) return valueItem(graph.constant(tensor))
  let outermost = graph
  while (outermost.parent) outermost = outermost.parent
  return valueItem(outermost.initializer(node.name, tensor))
}

export function tensorIn(item: Item | undefined, { name, op }: NodeDef): Value {
  if (item?.kind === 'value') return item.value
  throw invalid(FORMAT, `an input of ${op.slice(0, 60)} "${name.slice(0, 120)}" is no tensor`)
}

/** The function named by an attribute of a node. */
export function functionOf(node: NodeDef, key: string): string {
  const value = node.attr[key]?.value
  if (value?.case !== 'func') throw invalid(FORMAT, `"${node.name.slice(0, 120)}" names no function`)
  return value.value.name
}

/** What a function gives for the items, in the order of its outputs. */
function call(flow: Flow, frame: Frame, name: string, inputs: readonly Item[]): Item[] {
  const body = bodyOf(flow, frame, name, inputs, frame.graph)
  return evaluate(flow, body.frame, body.outputs)
}

/** The frame of a function's body with its arguments, and the edges of its outputs. Throws FORMAT_INVALID. */
export function bodyOf(flow: Flow, frame: Frame, name: string, inputs: readonly Item[], graph: GraphBuilder) {
  const definition = flow.functions.get(name)
  const { inputArg, outputArg } = definition?.signature ?? {}
  if (!definition || !inputArg || !outputArg || inputArg.length !== inputs.length)
    throw invalid(FORMAT, `the function "${name.slice(0, 120)}" is not there, or takes other inputs`)
  if (frame.depth >= DEPTH_LIMIT) throw invalid(FORMAT, `functions called deeper than ${DEPTH_LIMIT}`)
  const inner = frameOf(graph, definition.nodeDef, frame.depth + 1)
  for (const [i, arg] of inputArg.entries()) inner.results.set(arg.name, [inputs[i]])
  const outputs = outputArg.map((arg) => {
    const from = Object.hasOwn(definition.ret, arg.name) ? definition.ret[arg.name] : undefined
    if (!from) throw invalid(FORMAT, `the function "${name.slice(0, 120)}" has no output "${arg.name.slice(0, 60)}"`)
    return from
  })
  return { frame: inner, outputs, arguments: inputArg.map((arg) => arg.name) }
}

const unknownOperators = (names: readonly string[]) =>
  fail('UNSUPPORTED', {
    what: `${names.length > 1 ? 'operators' : 'the operator'} ${names.slice(0, NAMED_LIMIT).join(', ').slice(0, 600)} of a TensorFlow graph`,
    instead: 'Convert the model to ONNX with tf2onnx, or save it from Keras as .keras, and import that.',
  })

/** Refuses a graph that needs operators which are not read, naming all of them. Throws UNSUPPORTED. */
export function checkOperators(flow: Flow, nodes: readonly NodeDef[], references: readonly string[]) {
  const missing = new Set<string>()
  const seen = new Set<string>()
  const visit = (all: readonly NodeDef[], from: readonly string[], looping: boolean) => {
    const byName = new Map(all.map((node) => [node.name, node]))
    const stack = from.map((reference) => reference.split(':')[0])
    const reached = new Set<string>()
    while (stack.length > 0) {
      const node = byName.get(stack.pop()!)
      if (!node || reached.has(node.name)) continue
      reached.add(node.name)
      if (!known.has(node.op) && !(looping && inLoops.has(node.op))) missing.add(node.op)
      stack.push(...node.input.filter((input) => !isControl(input)).map((input) => input.split(':')[0]))
      for (const { value } of Object.values(node.attr)) {
        if (value.case !== 'func' || seen.has(value.value.name)) continue
        seen.add(value.value.name)
        const inner = flow.functions.get(value.value.name)
        if (inner) visit(inner.nodeDef, Object.values(inner.ret), looping || node.op.endsWith('While'))
      }
    }
  }
  visit(nodes, references, false)
  if (missing.size > 0) throw unknownOperators([...missing].sort())
}
