import { create } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import { type Attributes, attribute } from '../../graph/attributes.ts'
import {
  type AttributeProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
} from '../../graph/gen/onnx_pb.js'
import { inferModel } from '../../graph/infer.ts'
import { operatorName } from '../../graph/operators.ts'
import type { Shape } from '../../graph/shape.ts'
import { type DataType, fromNumbers, numbers, type Tensor } from '../../graph/tensor.ts'
import { fromProto, toProto } from '../../graph/tensor-proto.ts'

/** Where a rule adds what replaces a node, and what it can know of the node's values. */
export interface Site {
  readonly node: NodeProto
  /** Adds a node and returns its outputs' names; `outputs` may name them. */
  add(op: string, inputs: readonly string[], attributes?: Attributes, outputs?: readonly string[]): string
  /** Gives the node added last these attributes too. */
  attributesOfLast(attributes: readonly AttributeProto[]): void
  /** Stores a small tensor in the graph and returns its name. */
  constant(dtype: DataType, dims: readonly number[], values: readonly number[]): string
  store(tensor: Tensor): string
  shapeOf(name: string): Shape | undefined
  typeOf(name: string): DataType | undefined
  /** The tensor of that name if it is stored in the graph. */
  stored(name: string): Tensor | undefined
  /** Elements of a stored integer tensor; refuses the node where they are computed. */
  ints(name: string): number[]
  /** Whether anything uses the node's i-th output. */
  used(i: number): boolean
  refuse(why: string): never
}

/** Adds what stands for the node, or returns `'keep'` to keep the node itself (perhaps changed). */
export type Rule = (site: Site) => 'keep' | undefined

/**
 * Replaces nodes by rules, in the graph and in the bodies it holds; the model is changed in place. `what` says what the
 * rules are for in the refusal of a node (UNSUPPORTED).
 */
export function rewrite(model: ModelProto, ruleFor: (node: NodeProto) => Rule | undefined, what: string) {
  const types = inferModel(model)
  const stored = new Map<string, TensorProto>()
  const names = new Set<string>()
  const visit = (graph: GraphProto, each: (graph: GraphProto) => void) => {
    each(graph)
    for (const node of graph.node) for (const { g } of node.attribute) if (g) visit(g, each)
  }
  visit(model.graph!, (graph) => {
    for (const tensor of graph.initializer) {
      names.add(tensor.name)
      stored.set(tensor.name, tensor)
    }
    for (const { name } of graph.input) names.add(name)
    for (const node of graph.node) {
      for (const name of node.output) names.add(name)
      const value = node.opType === 'Constant' ? node.attribute.find(({ name }) => name === 'value')?.t : undefined
      if (value) stored.set(node.output[0], value)
    }
  })
  const tensorOf = (name: string) => {
    const proto = stored.get(name)
    return proto && fromProto(proto)
  }
  const outer = model.graph!
  const constants = new Map<string, string>()
  const fresh = (base: string) => {
    for (let i = 0; ; i++) {
      const name = i === 0 ? base : `${base}.${i}`
      if (names.has(name)) continue
      names.add(name)
      return name
    }
  }

  const rewriteGraph = (graph: GraphProto) => {
    const wanted = usedNames(graph)
    graph.node = graph.node.flatMap((node) => {
      for (const { g } of node.attribute) if (g) rewriteGraph(g)
      const rule = ruleFor(node)
      if (!rule) return [node]
      const added: NodeProto[] = []
      const refuse = (why: string): never => {
        throw fail('UNSUPPORTED', {
          what: `the operator ${operatorName(node)} "${node.name.slice(0, 80)}" ${what}`,
          instead: `${why[0].toUpperCase()}${why.slice(1)}.`,
        })
      }
      const store = (tensor: Tensor) => {
        const name = fresh(`${node.output[0]}.constant`)
        const proto = toProto(tensor, name)
        outer.initializer.push(proto)
        stored.set(name, proto)
        return name
      }
      const kept = rule({
        node,
        add(op, inputs, attributes = {}, outputs) {
          const made = outputs ?? [fresh(`${node.output[0]}.${op}`)]
          added.push(
            create(NodeProtoSchema, {
              opType: op,
              name: fresh(`${node.name || node.output[0]}/${op}`),
              input: [...inputs],
              output: [...made],
              attribute: Object.entries(attributes).flatMap(([name, value]) =>
                value === undefined ? [] : [attribute(name, value)],
              ),
            }),
          )
          return made[0]
        },
        attributesOfLast: (attributes) => added.at(-1)!.attribute.push(...attributes),
        constant(dtype, dims, values) {
          const key = `${dtype}[${dims}]${values}`
          const known = constants.get(key)
          if (known) return known
          const name = store(fromNumbers(dtype, dims, values))
          constants.set(key, name)
          return name
        },
        store,
        shapeOf: (name) => types.get(name)?.shape,
        typeOf: (name) => types.get(name)?.dtype,
        stored: tensorOf,
        ints: (name) => {
          const tensor = tensorOf(name)
          return tensor ? numbers(tensor) : refuse(`its input "${name.slice(0, 80)}" is computed, not stored`)
        },
        used: (i) => node.output[i] !== undefined && node.output[i] !== '' && wanted.has(node.output[i]),
        refuse,
      })
      return kept === 'keep' ? [...added, node] : added
    })
  }
  rewriteGraph(outer)
}

/** Names that the nodes, bodies or outputs of a graph use. */
function usedNames(graph: GraphProto): Set<string> {
  const names = new Set(graph.output.map(({ name }) => name))
  for (const node of graph.node) {
    for (const name of node.input) names.add(name)
    for (const { g } of node.attribute) if (g) for (const name of usedNames(g)) names.add(name)
  }
  return names
}

/** Removes attributes from a node. */
export function drop(node: NodeProto, ...names: string[]) {
  node.attribute = node.attribute.filter(({ name }) => !names.includes(name))
}

/** Drops initializers that nothing uses any more. */
export function sweep(model: ModelProto) {
  const graph = model.graph!
  const used = usedNames(graph)
  graph.initializer = graph.initializer.filter(({ name }) => used.has(name))
}
