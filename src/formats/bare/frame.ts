import type { GraphBuilder } from '../../graph/builder.ts'
import type { GraphProto, ModelProto } from '../../graph/gen/onnx_pb.js'
import { convertOpset } from '../onnx/opset.ts'

/** Newest operator set that what is put around a model is written in. */
const OPSET = 20

/** The operator set of a model's standard operators; 0 if it names none. */
export const opsetOf = (model: ModelProto): number =>
  Number(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0)

/**
 * Puts a graph before a model and one after it: an output of the one before goes into the model's input that `joints` leads
 * to from it, and a model's output to an input of the one after, `joints` leading from the model's name to theirs. Inputs and
 * outputs of the whole are those of the two; all other names are kept apart. Throws UNSUPPORTED.
 */
export function framed(
  model: ModelProto,
  { before, after, joints }: { before: GraphBuilder; after: GraphBuilder; joints: ReadonlyMap<string, string> },
): ModelProto {
  const graph = model.graph!
  const parts = [before, after].map((part) => {
    const built = part.build()
    convertOpset(built, Math.min(OPSET, opsetOf(model)))
    return built.graph!
  })
  const ends = new Set([
    ...joints.values(),
    ...parts[0].input.map(({ name }) => name),
    ...parts[1].output.map(({ name }) => name),
  ])
  // the model's own names of these ends give way
  rename(graph, (name) => joints.get(name) ?? `model/${name}`)
  rename(parts[0], (name) => (ends.has(name) ? name : `before/${name}`))
  rename(parts[1], (name) => (ends.has(name) ? name : `after/${name}`))
  graph.node = [...parts[0].node, ...graph.node, ...parts[1].node]
  graph.initializer.push(...parts[0].initializer, ...parts[1].initializer)
  graph.input = [...parts[0].input, ...graph.input.filter(({ name }) => graph.initializer.some((t) => t.name === name))]
  graph.output = parts[1].output
  graph.valueInfo = []
  return model
}

/** Renames every value and node of a graph and of the graphs within. */
function rename(graph: GraphProto, to: (name: string) => string) {
  const renamed = (name: string) => (name === '' ? '' : to(name))
  for (const value of [...graph.input, ...graph.output, ...graph.valueInfo, ...graph.initializer])
    value.name = renamed(value.name)
  for (const node of graph.node) {
    node.input = node.input.map(renamed)
    node.output = node.output.map(renamed)
    node.name = renamed(node.name)
    for (const { g } of node.attribute) if (g) rename(g, to)
  }
}
