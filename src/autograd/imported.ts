import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import { attribute, intsOf, tensorOf } from '../graph/attributes.ts'
import type { Value } from '../graph/builder.ts'
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
  type ValueInfoProto,
} from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import { operatorName } from '../graph/operators.ts'
import type { Shape } from '../graph/shape.ts'
import { batched, tensorInput } from '../graph/signature.ts'
import { type DataType, float32, fromNumbers, int64, type Tensor } from '../graph/tensor.ts'
import { fromProto, toProto } from '../graph/tensor-proto.ts'
import { upgraded } from '../graph/upgrade.ts'
import { decompositions } from './contrib.ts'
import { FRESH, withHead } from './head.ts'
import { rules } from './rules.ts'
import type { Network } from './training.ts'

/** A model that someone else made, ready to be trained further. */
export interface Imported {
  /** With the new head, if one was asked for, and any number of rows. */
  readonly model: ModelProto
  /** What the loss is computed from. */
  readonly output: string
  readonly inputs: readonly { name: string; dtype: DataType; shape: Shape }[]
  /** Tensors to be trained, by name; those of a new head have no values yet. */
  readonly trained: ReadonlyMap<string, Tensor | { dims: readonly number[] }>
}

interface ImportOptions {
  /** Names of the float32 tensors to train; others stay as they are. */
  trainable: RegExp
  /** The first output if absent. */
  output?: string
  /** Classes of a new last layer. */
  head?: number
  /** The loss wants what a final Softmax is given, not what it makes of it. */
  logits?: boolean
}

const unsupported = (what: string, instead: string) => fail('UNSUPPORTED', { what, instead })

/** Inputs of operators that are settings or statistics, not weights, though they are stored as tensors. */
const settings: Record<string, readonly number[]> = {
  BatchNormalization: [3, 4],
  Clip: [1, 2],
  Pad: [1, 2],
  Resize: [1, 2, 3],
  Upsample: [1],
  Pow: [1],
  Dropout: [1, 2],
}

/**
 * Checks that a model can be trained, before anything runs: throws GRADIENT_MISSING naming all operators between the
 * trained tensors and the output that have no gradient rule, UNSUPPORTED for control flow and functions, OPTION_INVALID
 * for an output that does not exist or when no tensor is to be trained.
 */
export function openImported(given: ModelProto, { trainable, output, head, logits = false }: ImportOptions): Imported {
  const graph = given.graph!
  const names = graph.output.map(({ name }) => name)
  if (output !== undefined && !names.includes(output)) {
    const reason = `the model has no output "${output.slice(0, 80)}"; it has ${names.join(', ').slice(0, 300)}`
    throw fail('OPTION_INVALID', { option: 'output', reason }, { suggestion: suggest(output, names) })
  }
  if (given.functions.length > 0)
    throw unsupported('training a model with functions of its own', 'Export it with its functions inlined.')
  const source = output ?? names[0]
  const rewritten = batched(head === undefined ? given : withHead(given, source, head))
  const target = logits ? beforeSoftmax(rewritten.graph!, source) : source
  const needed = nodesTo(rewritten.graph!, target)
  for (const { opType, name, attribute } of needed)
    if (attribute.some(({ g, graphs }) => g || graphs.length > 0))
      throw unsupported(`training through ${opType} "${name}"`, 'Export the model without control flow.')

  const trained = new Map<string, Tensor | { dims: readonly number[] }>()
  const fixed = new Set(needed.flatMap(({ opType, input }) => (settings[opType] ?? []).map((at) => input[at])))
  const used = new Set(needed.flatMap(({ input }) => input))
  for (const proto of rewritten.graph!.initializer) {
    const dims = proto.dims.map(Number)
    const fresh = proto.docString === FRESH
    const weight = proto.dataType === 1 && dims.reduce((a, b) => a * b, 1) > 1 && !fixed.has(proto.name)
    if (!used.has(proto.name) || !weight || !(fresh || trainable.test(proto.name))) continue
    trained.set(proto.name, fresh ? { dims } : fromProto(proto))
  }
  if (trained.size === 0) {
    const some = rewritten.graph!.initializer.filter(({ name }) => used.has(name)).slice(0, 8)
    const reason = `no weight of the model matches; it has ${some.map(({ name }) => name).join(', ')}, …`
    throw fail('OPTION_INVALID', { option: 'trainable', reason })
  }
  checkRules(rewritten, needed, trained)
  const stored = new Set(rewritten.graph!.initializer.map(({ name }) => name))
  const inputs = rewritten.graph!.input.filter(({ name }) => !stored.has(name) && used.has(name)).map(tensorInput)
  return { model: rewritten, output: target, inputs, trained }
}

/** The value before the Softmax that ends in `output`, or the output itself. */
function beforeSoftmax({ node }: GraphProto, output: string): string {
  let last = node.find((one) => one.output.includes(output))
  while (last?.opType === 'Identity') {
    const [from] = last.input
    last = node.find((one) => one.output.includes(from))
  }
  return last && /^(Log)?Softmax$/.test(last.opType) && last.domain === '' ? last.input[0] : output
}

/** The nodes that a value depends on, in the graph's order. */
function nodesTo({ node }: GraphProto, value: string): NodeProto[] {
  const wanted = new Set([value])
  const found = [...node].reverse().filter(({ output, input }) => {
    const needed = output.some((name) => wanted.has(name))
    if (needed) for (const name of input) wanted.add(name)
    return needed
  })
  return found.reverse()
}

const renamed: Record<string, string> = { Upsample: 'Resize', Scatter: 'ScatterElements' }

function checkRules(model: ModelProto, needed: readonly NodeProto[], trained: ReadonlyMap<string, unknown>) {
  const types = inferModel(model)
  const reached = new Set(trained.keys())
  const missing = new Set<string>()
  for (const node of needed) {
    if (!node.input.some((name) => reached.has(name))) continue
    const smooth = node.output.filter((name) => {
      const dtype = types.get(name)?.dtype
      return dtype === undefined || dtype.startsWith('float')
    })
    if (smooth.length === 0) continue // nothing differentiable comes out
    for (const name of smooth) reached.add(name)
    const name = operatorName(node)
    if (!rules[renamed[name] ?? name] && !decompositions[name]) missing.add(name)
  }
  if (missing.size > 0) throw fail('GRADIENT_MISSING', { operators: [...missing].sort().join(', ') })
}

/**
 * What is made in place of a node of the model; `make` gives its own outputs, for these inputs or others. What else is to be
 * learnt are parameters of `network`, which is at `model/`.
 */
export type Around = (
  node: NodeProto,
  inputs: readonly (Value | undefined)[],
  make: (inputs: readonly (Value | undefined)[]) => Value[],
  network: Network,
) => Value[]

/**
 * Adds the model's nodes to a network under `model/`: the value of its output. Trained tensors are the network's
 * parameters, all others are stored in the graph.
 */
export function buildImported(
  network: Network,
  imported: Imported,
  inputs: Readonly<Record<string, Value>>,
  around: Around = (_node, given, make) => make(given),
): Value {
  const { model, output, trained } = imported
  const graph = model.graph!
  const opset = Number(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 1n)
  const scope = network.scope('model')
  const values = new Map<string, Value>(Object.entries(inputs))
  const needed = nodesTo(graph, output)
  const used = new Set(needed.flatMap(({ input }) => input))
  for (const proto of graph.initializer) {
    if (!used.has(proto.name)) continue
    const weight = trained.get(proto.name)
    values.set(
      proto.name,
      weight ? parameter(scope, proto.name, weight) : scope.graph.initializer(proto.name, fromProto(proto)),
    )
  }
  for (const node of needed) {
    const given = node.input.map((name) => (name === '' ? undefined : values.get(name)))
    const constant = node.opType === 'Constant' && constantOf(node)
    const make = (inputs: readonly (Value | undefined)[]) =>
      (decompositions[operatorName(node)] ?? upgraded)(scope.graph, node, [...inputs], opset)
    const made = constant ? [scope.graph.constant(constant)] : around(node, given, make, scope)
    node.output.forEach((name, i) => {
      if (name !== '' && made[i]) values.set(name, folded(scope, made[i]))
    })
  }
  return values.get(output)!
}

function parameter(network: Network, name: string, weight: Tensor | { dims: readonly number[] }): Value {
  const fanIn = weight.dims.slice(1).reduce((a, b) => a * b, 1)
  return network.parameter(name, weight.dims, { kind: 'uniform', bound: 1 / Math.sqrt(Math.max(1, fanIn)) })
}

/** A small integer whose elements are known becomes a constant, so that rules can read axes, starts and the like. */
function folded(network: Network, value: Value): Value {
  const { ints, dtype, shape } = value
  if (value.tensor || !ints || dtype !== 'int64' || !ints.every((dim) => typeof dim === 'number')) return value
  if (!shape.every((dim) => typeof dim === 'number')) return value
  const dims = shape as readonly number[]
  if (dims.reduce((a, b) => a * b, 1) !== ints.length) return value
  return network.graph.constant(int64(dims, ints as number[]))
}

function constantOf(node: NodeProto): Tensor | undefined {
  const value = tensorOf(node, 'value')
  if (value) return value
  const ints = intsOf(node, 'value_ints')
  if (ints) return int64([ints.length], ints)
  for (const { name, f, i, floats } of node.attribute) {
    if (name === 'value_float') return fromNumbers('float32', [], [f])
    if (name === 'value_int') return int64([], [Number(i)])
    if (name === 'value_floats') return float32([floats.length], floats)
  }
  return undefined
}

/** The parameter's name in the network for a tensor's name in the model. */
export const pathOf = (name: string) => `model/${name}`

/**
 * The model with trained weights, as it came in all else. For a classifier an output `probabilities` is added, and its
 * outputs are that and what the loss was computed from.
 */
export function exportImported(
  { model, output, trained }: Imported,
  weights: Readonly<Record<string, { data: Float32Array }>>,
  classifier: boolean,
): ModelProto {
  const graph = model.graph!
  const initializer = graph.initializer.map((proto) => {
    const data = trained.has(proto.name) ? weights[pathOf(proto.name)]?.data : undefined
    return data ? toProto(float32(proto.dims.map(Number), data), proto.name) : proto
  })
  if (!classifier) return { ...model, graph: { ...graph, initializer } }
  const softmax = create(NodeProtoSchema, {
    opType: 'Softmax',
    name: 'athanor:probabilities',
    input: [output],
    output: ['probabilities'],
    attribute: [attribute('axis', 1)],
  })
  const shaped = graph.output.find(({ name }) => name === output) ?? graph.output[0]
  const named = (name: string): ValueInfoProto => ({ ...shaped, name })
  const node = [...graph.node.filter((one) => !one.output.includes('probabilities')), softmax]
  return { ...model, graph: { ...graph, initializer, node, output: [named(output), named('probabilities')] } }
}
