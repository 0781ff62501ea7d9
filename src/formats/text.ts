import { fail } from '../base/errors.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { GraphProto, ModelProto, NodeProto } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import type { DataType } from '../graph/tensor.ts'
import { convertOpset } from './onnx/opset.ts'

/** How texts become the rows of ids that an imported model was trained with. */
export interface TextShape {
  /** Ids in a row; undefined when the model takes any number and leaves padding out of account by itself. */
  length: number | undefined
  padding: 'pre' | 'post'
}

const OPSET = 20

/** What may be done to ids before they are looked up. */
const arranging = new Set(
  'Add Cast Clip Concat Identity Max Min Mod Mul Pad Reshape Slice Split Squeeze Sub Transpose Unsqueeze Where'.split(
    ' ',
  ),
)

/**
 * Whether a graph looks as if it classified texts: rows of ids that pick rows of a stored table (and perhaps `lengths`) become
 * rows of scores.
 */
export function readsTexts(model: ModelProto): boolean {
  const { inputs, outputs } = signatureOf(model)
  const [ids, ...others] = inputs
  if (ids?.shape.length !== 2 || others.some(({ name }) => name !== 'lengths')) return false
  if (!outputs.some(({ shape }) => shape.length === 2)) return false
  const { node, initializer } = model.graph!
  const tables = new Set(initializer.filter(({ dims }) => dims.length === 2).map(({ name }) => name))
  const derived = new Set([ids.name])
  for (const { opType, input, output } of node) {
    if (opType === 'Gather' && tables.has(input[0]) && derived.has(input[1])) return true
    if (arranging.has(opType) && input.some((name) => derived.has(name))) for (const name of output) derived.add(name)
  }
  return false
}

/**
 * Makes a model that takes rows of ids one that serves texts: inputs `ids` int64 (batch, time) padded at the end and
 * `lengths` int64 (batch), output `probabilities` (batch, classes). Rows are laid out as the model was trained: padded to
 * its length, before or after the ids. One sigmoid becomes two classes; scores that are no probabilities get a softmax.
 * Throws UNSUPPORTED or OPTION_INVALID.
 */
export function servingTexts(model: ModelProto, shape: TextShape): { model: ModelProto; classes: number } {
  const { inputs, outputs } = signatureOf(model)
  const version = Number(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0)
  const [ids, ...others] = inputs
  const lengths = others.length === 1 && others[0].name === 'lengths' ? others[0] : undefined
  const refuse = (what: string) =>
    fail('UNSUPPORTED', { what, instead: 'Import it without --tokenizer: it then takes tensors.' })
  if (!ids || (others.length > 0 && !lengths) || ids.shape.length !== 2)
    throw refuse(`a text model with the inputs ${inputs.map(({ name, shape }) => `${name} [${shape}]`).join(', ')}`)
  if (version < 13) throw refuse(`a text model of opset ${version}`)
  const output = outputs.find(({ name }) => name === 'probabilities') ?? outputs[0]
  const inferred = inferModel(model).get(output?.name ?? '')?.shape ?? output?.shape
  const width = inferred?.at(-1)
  if (!output || inferred?.length !== 2 || typeof width !== 'number')
    throw refuse(`a text model with the output ${output?.name} [${inferred ?? '?'}]`)

  const graph = model.graph!
  const before = new GraphBuilder()
  const given = {
    ids: before.input('ids', 'int64', ['batch', 'time']),
    lengths: before.input('lengths', 'int64', ['batch']),
  }
  const rows = o.cast(arranged(given.ids, given.lengths, shape), ids.dtype as DataType)
  before.output(rows, 'text/rows')
  if (lengths) before.output(o.cast(given.lengths, lengths.dtype as DataType), 'text/lengths')
  const last = finalActivation(graph, output.name)
  const after = new GraphBuilder()
  const scores = after.input('text/scores', output.dtype as DataType, ['batch', width])
  after.output(probabilities(o.cast(scores, 'float32'), last), 'probabilities')

  const parts = [before, after].map((part) => {
    const built = part.build()
    convertOpset(built, Math.min(OPSET, version))
    return built.graph!
  })
  const renames = new Map([
    [ids.name, 'text/rows'],
    [output.name, 'text/scores'],
  ])
  if (lengths) renames.set(lengths.name, 'text/lengths')
  // the model's own names of these ends give way
  rename(graph, (name) => renames.get(name) ?? `model/${name}`)
  const ends = new Set(['ids', 'lengths', 'text/rows', 'text/lengths', 'text/scores', 'probabilities'])
  rename(parts[0], (name) => (ends.has(name) ? name : `text/in/${name}`))
  rename(parts[1], (name) => (ends.has(name) ? name : `text/out/${name}`))
  graph.node = [...parts[0].node, ...graph.node, ...parts[1].node]
  graph.initializer.push(...parts[0].initializer, ...parts[1].initializer)
  graph.input = [...parts[0].input, ...graph.input.filter(({ name }) => graph.initializer.some((t) => t.name === name))]
  graph.output = parts[1].output
  graph.valueInfo = []
  return { model, classes: Math.max(2, width) }
}

/** Ids as the model wants them: (batch, length), the text's tokens at the end or the beginning, zeros elsewhere. */
function arranged(ids: Value, lengths: Value, { length, padding }: TextShape): Value {
  if (length === undefined) return ids
  const place = o.constant(ids, {
    dtype: 'int64',
    dims: [1, length],
    data: BigInt64Array.from({ length }, (_, i) => BigInt(i)),
  })
  const kept = o.unsqueeze(o.min(lengths, length), [1]) // (batch, 1)
  // which token stands at each place; negative where padding comes first
  const at = padding === 'pre' ? o.add(o.sub(place, length), kept) : o.add(place, o.sub(kept, kept))
  const inside = o.and(o.greaterOrEqual(at, 0), o.less(at, kept))
  const picked = o.gatherElements(ids, o.where(inside, at, 0), 1) // (batch, length)
  return o.where(inside, picked, 0)
}

type Activation = 'probabilities' | 'sigmoid' | 'scores'

/** What the last node that changes values is. */
function finalActivation(graph: GraphProto, name: string): Activation {
  const makers = new Map(graph.node.flatMap((node) => node.output.map((output): [string, NodeProto] => [output, node])))
  for (let node = makers.get(name); node; node = makers.get(node.input[0])) {
    if (node.opType === 'Softmax') return 'probabilities'
    if (node.opType === 'Sigmoid') return 'sigmoid'
    if (!['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'].includes(node.opType)) return 'scores'
  }
  return 'scores'
}

function probabilities(scores: Value, last: Activation): Value {
  const width = Number(scores.shape[1])
  if (width > 1)
    return last === 'scores'
      ? o.softmax(scores)
      : last === 'sigmoid'
        ? o.div(scores, o.reduceSum(scores, [1], true))
        : scores
  const yes = last === 'scores' ? o.sigmoid(scores) : scores
  return o.concat([o.sub(1, yes), yes], 1)
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
