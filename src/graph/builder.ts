import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { type Attributes, attribute as attributeOf } from './attributes.ts'
import {
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './gen/onnx_pb.js'
import { inferNode, operatorName } from './operators.ts'
import { type Dim, type Shape, type Type, typeOf } from './shape.ts'
import { type DataType, dataTypes, type Tensor } from './tensor.ts'
import { toProto } from './tensor-proto.ts'

/** A tensor that flows through a graph under construction: an input, an initializer or a node's output. */
export interface Value {
  readonly graph: GraphBuilder
  readonly name: string
  readonly dtype: DataType
  readonly shape: Shape
  /** Elements of a small integer tensor, where they are known. */
  readonly ints?: readonly Dim[]
  /** The value itself, when it is a constant or an initializer. */
  readonly tensor?: Tensor
}

/** A node with its typed values, in the order of construction; gradients walk these backwards. */
export interface Node {
  readonly proto: NodeProto
  readonly inputs: readonly (Value | undefined)[]
  readonly outputs: readonly Value[]
}

/**
 * Nodes `start` to `end` (exclusive) taken as one operation with a gradient of its own, where the derivative by the
 * nodes' own rules would be slower or less exact.
 */
export interface Region {
  readonly start: number
  readonly end: number
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  /** Gradients of the inputs from those of the outputs (undefined where none flows). */
  readonly gradient: (outputGradients: readonly (Value | undefined)[]) => (Value | undefined)[]
}

interface State {
  readonly regions: Region[]
  readonly nodes: Node[]
  readonly inputs: Value[]
  readonly outputs: { value: Value; name: string }[]
  readonly initializers: Map<string, Tensor>
  readonly values: Map<string, Value>
  readonly constants: Map<string, Value>
  readonly sizes: Map<string, Value>
  /** Shared with subgraphs: names are unique throughout the model, as ONNX asks for outer scopes. */
  readonly names: Map<string, number>
}

const newState = (names = new Map<string, number>()): State => ({
  regions: [],
  nodes: [],
  inputs: [],
  outputs: [],
  initializers: new Map(),
  values: new Map(),
  constants: new Map(),
  sizes: new Map(),
  names,
})

/** The newest ai.onnx opset for which onnxruntime 1.30 has all the kernels that we use. */
const OPSET = 20
const IR_VERSION = 9

/**
 * Builds an ONNX graph node by node; the type and shape of every value is inferred as it is added, so that a mistake is
 * reported where it is made (MODEL_INVALID).
 */
export class GraphBuilder {
  readonly #state: State
  readonly #prefix: string
  readonly parent: GraphBuilder | undefined

  constructor(state: State = newState(), prefix = '', parent?: GraphBuilder) {
    this.#state = state
    this.#prefix = prefix
    this.parent = parent
  }

  get nodes(): readonly Node[] {
    return this.#state.nodes
  }
  get inputs(): readonly Value[] {
    return this.#state.inputs
  }

  get regions(): readonly Region[] {
    return this.#state.regions
  }

  /** Adds what `build` adds as one operation with the given gradient; see `Region`. */
  region<Outputs extends readonly Value[]>(
    inputs: readonly Value[],
    build: () => { outputs: Outputs; gradient: Region['gradient'] },
  ): Outputs {
    const start = this.#state.nodes.length
    const { outputs, gradient } = build()
    this.#state.regions.push({ start, end: this.#state.nodes.length, inputs, outputs, gradient })
    return outputs
  }

  /** A view of the same graph whose new names begin with `prefix/`. */
  scope(prefix: string): GraphBuilder {
    return new GraphBuilder(this.#state, `${this.#prefix}${prefix}/`, this.parent)
  }

  /** A graph for the body of Scan, Loop or If; it may use values of this one. */
  subgraph(): GraphBuilder {
    return new GraphBuilder(newState(this.#state.names), this.#prefix, this)
  }

  /** Whether the value was made in this very graph, not in one around it. */
  owns(value: Value): boolean {
    return value.graph.#state === this.#state
  }

  input(name: string, dtype: DataType, shape: Shape): Value {
    const value = this.#value(this.#unique(name), { dtype, shape })
    this.#state.inputs.push(value)
    return value
  }

  /** A tensor stored in the model under its path, e.g. a weight. */
  initializer(name: string, tensor: Tensor): Value {
    const value = this.#value(this.#unique(name), typeOf(tensor), tensor)
    this.#state.initializers.set(value.name, tensor)
    return value
  }

  /** A small tensor; equal ones are stored once. Inside a subgraph it is stored in the outermost graph. */
  constant(tensor: Tensor): Value {
    if (this.parent) return this.parent.constant(tensor)
    const key = `${tensor.dtype}[${tensor.dims}]${tensor.data.length <= 64 ? tensor.data.join() : Math.random()}`
    let value = this.#state.constants.get(key)
    if (!value) {
      value = new GraphBuilder(this.#state).initializer('constant', tensor)
      this.#state.constants.set(key, value)
    }
    return value
  }

  /** The size that a symbol stands for, an int64 value of one element: `make` adds it where this graph does not have it yet. */
  size(symbol: string, make: () => Value): Value {
    for (let graph: GraphBuilder | undefined = this; graph; graph = graph.parent) {
      const found = graph.#state.sizes.get(symbol)
      if (found) return found
    }
    const size = make()
    this.#state.sizes.set(symbol, size)
    return size
  }

  /** Adds a node and returns its outputs: as many as asked for, or named ones. An absent optional input is undefined. */
  node(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes = {},
    outputs: number | readonly string[] = 1,
    domain = '',
  ): Value[] {
    const attribute = Object.entries(attributes).flatMap(([name, value]) =>
      value === undefined ? [] : [attributeOf(name, value)],
    )
    return this.copy({ opType, domain, attribute }, inputs, outputs)
  }

  /** Adds a node with the operator and attributes of another, and returns its outputs as `node` does. */
  copy(
    { opType, domain, attribute }: Pick<NodeProto, 'opType' | 'domain' | 'attribute'>,
    inputs: readonly (Value | undefined)[],
    outputs: number | readonly string[] = 1,
  ): Value[] {
    const names = typeof outputs === 'number' ? Array.from({ length: outputs }, () => opType) : outputs
    const proto = create(NodeProtoSchema, {
      opType,
      domain,
      name: this.#unique(opType),
      input: inputs.map((value) => value?.name ?? ''),
      output: names.map((name) => (name === '' ? '' : this.#unique(name))),
      attribute: [...attribute],
    })
    while (proto.input.at(-1) === '') proto.input.pop()
    const where = `${operatorName(proto)} "${proto.name}"`
    const types = inferNode({ node: proto, inputs, where, body: (graph) => this.#bodyTypes(graph) })
    const values = proto.output.map((name, i) => this.#value(name, types[i]))
    this.#state.nodes.push({ proto, inputs, outputs: values })
    return values
  }

  /** Writes a note (`metadata_props`) at the node that makes a value of this graph. */
  annotate(value: Value, key: string, text: string) {
    const maker = this.#state.nodes.find(({ outputs }) => outputs.includes(value))
    maker?.proto.metadataProps.push(create(StringStringEntryProtoSchema, { key, value: text }))
  }

  /** Marks a value as an output of the graph, under a name of its own if one is given. */
  output(value: Value, name = value.name) {
    let from = value
    if (name !== value.name) {
      const node = create(NodeProtoSchema, {
        opType: 'Identity',
        name: this.#unique('Identity'),
        input: [value.name],
        output: [name],
      })
      from = this.#value(name, value)
      this.#state.nodes.push({ proto: node, inputs: [value], outputs: [from] })
    }
    this.#state.outputs.push({ value: from, name })
  }

  /** The graph as a message. `name` is free text. */
  graph(name: string): GraphProto {
    const { inputs, outputs, initializers } = this.#state
    const { nodes, names } = this.#live()
    return create(GraphProtoSchema, {
      name,
      node: nodes,
      input: inputs.map(valueInfo),
      output: outputs.map(({ value }) => valueInfo(value)),
      initializer: [...initializers].flatMap(([key, tensor]) => (names.has(key) ? [toProto(tensor, key)] : [])),
    })
  }

  /** The nodes on which the outputs depend, and the names that they use: onnxruntime would run the others as well. */
  #live(): { nodes: NodeProto[]; names: Set<string> } {
    const names = new Set(this.#state.outputs.map(({ value }) => value.name))
    const nodes = this.#state.nodes.map(({ proto }) => proto).reverse()
    const live = nodes.filter((node) => {
      const needed = node.output.some((name) => names.has(name))
      if (needed) for (const name of reads(node)) names.add(name)
      return needed
    })
    return { nodes: live.reverse(), names }
  }

  /** The body of a Scan, Loop or If as an attribute, its output types remembered for shape inference. */
  body(): { graph: GraphProto } {
    const graph = this.graph(this.#unique('body'))
    bodies.set(
      graph,
      this.#state.outputs.map(({ value }) => value),
    )
    return { graph }
  }

  build(name = 'athanor'): ModelProto {
    const domains = new Set<string>()
    collectDomains(
      this.#state.nodes.map(({ proto }) => proto),
      domains,
    )
    return create(ModelProtoSchema, {
      irVersion: BigInt(IR_VERSION),
      producerName: 'athanor',
      opsetImport: ['', ...[...domains].filter((domain) => domain !== '')].map((domain) =>
        create(OperatorSetIdProtoSchema, { domain, version: BigInt(domain === '' ? OPSET : 1) }),
      ),
      graph: this.graph(name),
    })
  }

  #bodyTypes(graph: GraphProto): Type[] {
    const values = bodies.get(graph)
    if (!values) throw fail('MODEL_INVALID', { reason: 'a body that was not built here' })
    return values
  }

  #unique(name: string): string {
    const full = this.#prefix + name
    const count = this.#state.names.get(full) ?? 0
    this.#state.names.set(full, count + 1)
    return count === 0 ? full : this.#unique(`${name}.${count}`)
  }

  #value(name: string, { dtype, shape, ints }: Type, tensor?: Tensor): Value {
    if (!dtype || !shape) throw fail('MODEL_INVALID', { reason: `the type or rank of "${name}" cannot be inferred` })
    const value: Value = { graph: this, name, dtype, shape, ...(ints && { ints }), ...(tensor && { tensor }) }
    this.#state.values.set(name, value)
    return value
  }
}

/** The names a node uses, those of its bodies included. */
function* reads(node: NodeProto): Generator<string> {
  yield* node.input
  for (const { g } of node.attribute) {
    for (const inner of g?.node ?? []) yield* reads(inner)
    for (const { name } of g?.output ?? []) yield name
  }
}

const bodies = new WeakMap<GraphProto, Value[]>()

function collectDomains(nodes: readonly NodeProto[], domains: Set<string>) {
  for (const node of nodes) {
    domains.add(node.domain)
    for (const { g } of node.attribute) if (g) collectDomains(g.node, domains)
  }
}

/** Name, element type and shape of a value as a message. */
function valueInfo({ name, dtype, shape }: { name: string; dtype: DataType; shape: Shape }): ValueInfoProto {
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: 'tensorType',
        value: {
          elemType: dataTypes[dtype].onnx,
          shape: {
            dim: shape.map((dim) => ({
              value:
                typeof dim === 'number'
                  ? { case: 'dimValue' as const, value: BigInt(dim) }
                  : dim.startsWith('?')
                    ? { case: undefined }
                    : { case: 'dimParam' as const, value: dim },
            })),
          },
        },
      },
    },
  })
}
