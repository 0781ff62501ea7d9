import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { type Attributes, attribute, tensorOf } from './attributes.ts'
import {
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  type TensorProto,
} from './gen/onnx_pb.js'
import type { Tensor } from './tensor.ts'
import { fromProto, toProto } from './tensor-proto.ts'

/**
 * A model under change: a copy whose lists of nodes and tensors may be changed, while tensors' bytes are shared with the
 * original. Passes look only at the outermost graph; what bodies of Scan, Loop and If use counts as used.
 */
export class Edit {
  readonly model: ModelProto
  readonly graph: GraphProto
  readonly #tensors: Map<string, TensorProto>
  readonly #names = new Set<string>()

  constructor(model: ModelProto) {
    const { graph } = model
    if (!graph) throw fail('MODEL_INVALID', { reason: 'it has no graph' })
    this.graph = create(GraphProtoSchema, {
      ...graph,
      node: [...graph.node],
      initializer: [...graph.initializer],
      input: [...graph.input],
      output: [...graph.output],
    })
    this.model = create(ModelProtoSchema, { ...model, opsetImport: [...model.opsetImport], graph: this.graph })
    this.#tensors = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]))
    for (const name of namesIn(graph)) this.#names.add(name)
  }

  get nodes(): readonly NodeProto[] {
    return this.graph.node
  }

  /** Version of the ai.onnx operators. */
  get opset(): number {
    return Number(this.model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0)
  }

  /** Whether a name is a stored tensor that callers cannot replace. */
  isStored(name: string): boolean {
    return this.#tensors.has(name) && !this.graph.input.some((input) => input.name === name)
  }

  /** The shape of a stored tensor, without reading it. */
  dims(name: string): number[] | undefined {
    return this.isStored(name) ? this.#tensors.get(name)!.dims.map(Number) : undefined
  }

  /** A stored tensor, or what a Constant node gives. */
  tensor(name: string): Tensor | undefined {
    if (this.isStored(name)) return fromProto(this.#tensors.get(name)!)
    const node = this.graph.node.find(({ opType, output }) => opType === 'Constant' && output[0] === name)
    return node && tensorOf(node, 'value')
  }

  /** The one number of a stored or constant tensor; undefined for anything else. */
  scalar(name: string): number | undefined {
    const dims = this.dims(name)
    if (dims && dims.reduce((a, b) => a * b, 1) !== 1) return undefined
    const tensor = this.tensor(name)
    return tensor?.data.length === 1 ? Number(tensor.data[0]) : undefined
  }

  /** Which node makes each value. */
  producers(): Map<string, NodeProto> {
    return new Map(this.graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)))
  }

  /** How often each value is used: by nodes, bodies within them, and as an output of the graph. */
  uses(): Map<string, NodeProto[]> {
    const uses = new Map<string, NodeProto[]>(this.graph.output.map(({ name }) => [name, [graphOutput]]))
    for (const node of this.graph.node) {
      for (const name of reads(node)) {
        const users = uses.get(name)
        if (users) users.push(node)
        else uses.set(name, [node])
      }
    }
    return uses
  }

  /** A name that is not in use yet. */
  name(wish: string): string {
    let name = wish
    for (let i = 1; this.#names.has(name); i++) name = `${wish}.${i}`
    this.#names.add(name)
    return name
  }

  /** Stores a tensor and returns its name. */
  store(wish: string, tensor: Tensor): string {
    const name = this.name(wish)
    const proto = toProto(tensor, name)
    this.#tensors.set(name, proto)
    this.graph.initializer.push(proto)
    return name
  }

  /** Puts another tensor in the place of a stored one. */
  restore(name: string, tensor: Tensor) {
    const proto = toProto(tensor, name)
    this.#tensors.set(name, proto)
    this.graph.initializer[this.graph.initializer.findIndex((one) => one.name === name)] = proto
  }

  /** A node that is not in the graph yet; outputs get fresh names that begin as given. */
  make(
    opType: string,
    input: readonly string[],
    attributes: Attributes = {},
    output: readonly string[] = [opType],
    domain = '',
  ): NodeProto {
    if (domain !== '' && !this.model.opsetImport.some((opset) => opset.domain === domain))
      this.model.opsetImport.push(create(OperatorSetIdProtoSchema, { domain, version: 1n }))
    return create(NodeProtoSchema, {
      opType,
      domain,
      name: this.name(opType),
      input: [...input],
      output: output.map((name) => this.name(name)),
      attribute: Object.entries(attributes).flatMap(([name, value]) =>
        value === undefined ? [] : [attribute(name, value)],
      ),
    })
  }

  /** Puts nodes in the place of one; the last of them takes over its outputs. */
  replace(node: NodeProto, nodes: readonly NodeProto[]) {
    const last = nodes.at(-1)
    if (last) last.output = [...node.output]
    this.graph.node.splice(this.graph.node.indexOf(node), 1, ...nodes)
  }

  insertBefore(node: NodeProto, nodes: readonly NodeProto[]) {
    this.graph.node.splice(this.graph.node.indexOf(node), 0, ...nodes)
  }

  /** Lets everything that used one value use another: nodes and the bodies within them. */
  reroute(from: string, to: string) {
    this.graph.node = this.graph.node.map((node) => (reads(node).includes(from) ? renamed(node, from, to) : node))
  }

  /** The changed model without the nodes and tensors that no output needs. */
  finish(): ModelProto {
    removeDead(this.graph)
    return this.model
  }
}

/** Stands for the graph's own outputs among the users of a value. */
const graphOutput: NodeProto = create(NodeProtoSchema, { opType: 'output' })

/** Removes nodes that no output depends on, and tensors that no node uses. */
function removeDead(graph: GraphProto) {
  const needed = new Set(graph.output.map(({ name }) => name))
  graph.node = graph.node
    .toReversed()
    .filter((node) => {
      const live = node.output.some((name) => needed.has(name))
      if (live) for (const name of reads(node)) needed.add(name)
      return live
    })
    .toReversed()
  graph.initializer = graph.initializer.filter(({ name }) => needed.has(name))
  const made = new Set(graph.node.flatMap(({ output }) => output))
  graph.valueInfo = graph.valueInfo.filter(({ name }) => made.has(name))
  graph.sparseInitializer = graph.sparseInitializer.filter(({ values }) => needed.has(values?.name ?? ''))
}

/** The names that a node uses, those within its bodies included; an absent optional input is left out. */
export function reads(node: NodeProto): string[] {
  const inner = node.attribute.flatMap(({ g, graphs }) => [...(g ? [g] : []), ...graphs])
  return [
    ...node.input.filter((name) => name !== ''),
    ...inner.flatMap((graph) => [...graph.node.flatMap(reads), ...graph.output.map(({ name }) => name)]),
  ]
}

function renamed(node: NodeProto, from: string, to: string): NodeProto {
  const swap = (name: string) => (name === from ? to : name)
  const graphIn = (graph: GraphProto) =>
    create(GraphProtoSchema, { ...graph, node: graph.node.map((inner) => renamed(inner, from, to)) })
  return create(NodeProtoSchema, {
    ...node,
    input: node.input.map(swap),
    attribute: node.attribute.map((one) =>
      one.g || one.graphs.length > 0
        ? { ...one, ...(one.g && { g: graphIn(one.g) }), graphs: one.graphs.map(graphIn) }
        : one,
    ),
  })
}

function* namesIn(graph: GraphProto): Generator<string> {
  for (const { name } of [...graph.input, ...graph.initializer]) yield name
  for (const { name, output, attribute } of graph.node) {
    yield name
    yield* output
    for (const { g, graphs } of attribute) for (const inner of [...(g ? [g] : []), ...graphs]) yield* namesIn(inner)
  }
}
