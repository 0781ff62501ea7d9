import { fromBinary } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import type { Dim } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { type Layout, scan } from '../../graph/wire.ts'
import type { ReadModel } from '../formats.ts'
import { invalid, type Source } from '../source.ts'
import { readVariables, type Variables } from './bundle.ts'
import { checkOperators, evaluate, type Flow, frameOf, tensorIn, valueItem, variableName } from './flow.ts'
import {
  type GraphDef,
  type MetaGraphDef,
  type NodeDef,
  type SavedModel,
  SavedModelSchema,
  type TensorInfo,
  type TensorShapeProto,
} from './gen/tensorflow_pb.js'
import { typeOfNumber } from './tensors.ts'

const FORMAT = 'TensorFlow'
const SERVING = 'serving_default'
const RANK_LIMIT = 8

const leaf: Layout = { fields: {} }
const shape: Layout = { fields: { 2: leaf } }
const tensor: Layout = { fields: { 2: shape } }
const attributes: Layout = { fields: {} }
const attribute: Layout = {
  fields: {
    1: { fields: { 7: shape, 8: tensor, 9: { fields: { 2: attributes } } } },
    7: shape,
    8: tensor,
    10: { fields: { 2: attributes } },
  },
}
Object.assign(attributes.fields, { 2: attribute })
const node: Layout = { fields: { 5: attributes } }
const definition: Layout = { fields: { 1: { fields: { 2: leaf, 3: leaf } }, 3: node, 4: leaf, 5: attributes } }
const signatures: Layout = { fields: { 2: { fields: { 1: { fields: { 2: { fields: { 3: shape } } } }, 2: leaf } } } }
const metaGraph: Layout = {
  fields: { 1: leaf, 2: { fields: { 1: node, 2: { fields: { 1: definition } } } }, 3: leaf, 5: signatures },
}

/** What a graph is asked: its inputs and outputs by their names, each with the node at which it is. */
export interface Signature {
  readonly inputs: Readonly<Record<string, TensorInfo>>
  readonly outputs: Readonly<Record<string, TensorInfo>>
}

/**
 * A SavedModel's serving signature as an ONNX graph: functions are inlined, variables come from the checkpoint beside it,
 * loops over lists become Scan. Throws UNSUPPORTED naming all operators that are not in the table, FORMAT_INVALID.
 */
export function readSavedModel(source: Source): ReadModel {
  const name = source.names.find((one) => /(^|\/)saved_model\.pb$/.test(one))
  if (!name) throw invalid(FORMAT, 'there is no saved_model.pb')
  const bytes = source.read(name)
  scan(bytes, { fields: { 2: metaGraph } }, (reason) => invalid(FORMAT, reason))
  let saved: SavedModel
  try {
    saved = fromBinary(SavedModelSchema, bytes)
  } catch (error) {
    throw invalid(FORMAT, 'saved_model.pb cannot be read', error)
  }
  const meta = saved.metaGraphs.find(({ metaInfoDef }) => metaInfoDef?.tags.includes('serve'))
  if (!meta?.graphDef) throw invalid(FORMAT, 'saved_model.pb has no graph for serving')
  const usable = Object.keys(meta.signatureDef).filter(
    (key) => Object.keys(meta.signatureDef[key].outputs).length > 0 && !key.startsWith('__'),
  )
  const key = usable.includes(SERVING) ? SERVING : usable.length === 1 ? usable[0] : undefined
  if (key === undefined)
    throw fail('UNSUPPORTED', {
      what: `a SavedModel with ${usable.length === 0 ? 'no signature' : `the signatures ${usable.join(', ').slice(0, 200)}`}`,
      instead: `Save it with one named ${SERVING}.`,
    })
  const prefix = `${name.slice(0, -'saved_model.pb'.length)}variables/variables`
  const variables = source.names.includes(`${prefix}.index`) ? readVariables(source, prefix) : undefined
  return readGraph(meta.graphDef, meta.signatureDef[key], storedVariables(meta, variables))
}

/**
 * The graph between the inputs and outputs of a signature, in ONNX. `constants` are values that are kept outside it, by their
 * nodes. Throws UNSUPPORTED or FORMAT_INVALID.
 */
export function readGraph(
  graphDef: GraphDef,
  { inputs, outputs }: Signature,
  variable: Flow['variable'],
  constants: ReadonlyMap<string, Tensor> = new Map(),
): ReadModel {
  const functions = new Map((graphDef.library?.function ?? []).map((one) => [one.signature?.name ?? '', one]))
  const flow: Flow = { functions, variable, stored: new Map(), count: 0 }
  const graph = new GraphBuilder()
  const frame = frameOf(graph, graphDef.node, 0)
  const named = Object.entries(outputs).sort(([a], [b]) => (a < b ? -1 : 1))
  const wanted = named.map(([, { name }]) => name)
  checkOperators(flow, graphDef.node, wanted)
  for (const [key, { name, dtype, tensorShape }] of Object.entries(inputs).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const value = graph.input(key, typeOfNumber(dtype, `the input "${key.slice(0, 80)}"`), dimsOf(key, tensorShape))
    frame.results.set(name.split(':')[0], [valueItem(value)])
  }
  for (const [name, tensor] of constants)
    frame.results.set(name, [
      valueItem(tensor.data.length > 64 ? graph.initializer(name, tensor) : graph.constant(tensor)),
    ])
  const items = evaluate(flow, frame, wanted)
  o.within(graph, () => {
    items.forEach((item, i) => {
      graph.output(tensorIn(item, frame.nodes.get(wanted[i].split(':')[0])!), named[i][0])
    })
  })
  return { model: graph.build('tensorflow') }
}

/** Sizes as they are declared; what is open is `batch` in front, `time` after it, and a name of its own elsewhere. */
function dimsOf(key: string, declared: TensorShapeProto | undefined): Dim[] {
  if (!declared || declared.unknownRank || declared.dim.length > RANK_LIMIT)
    throw fail('UNSUPPORTED', {
      what: `the TensorFlow input "${key.slice(0, 80)}" of unknown rank`,
      instead: 'Save the model with the shapes of its inputs.',
    })
  return declared.dim.map(({ size }, i) =>
    size >= 0n ? Number(size) : i === 0 ? 'batch' : i === 1 ? 'time' : `${key}_${i}`,
  )
}

/**
 * Variables by the names that the graph gives them. Which entry of the checkpoint is whose says the function that restores
 * them (RestoreV2, then AssignVariableOp); in files of TensorFlow 1 both have one name.
 */
function storedVariables(meta: MetaGraphDef, variables: Variables | undefined): (name: string) => Tensor {
  let keys: Map<string, string> | undefined
  return (name) => {
    if (!variables) throw invalid(FORMAT, 'its variables were not given: import the whole folder')
    keys ??= restoredKeys(meta)
    return variables.read(keys.get(name) ?? name)
  }
}

function restoredKeys({ graphDef, saverDef }: MetaGraphDef): Map<string, string> {
  const keys = new Map<string, string>()
  const restore = graphDef!.node.find(({ name }) => name === saverDef?.restoreOpName)
  const called = restore?.attr.f?.value
  const body = graphDef!.library?.function.find(
    ({ signature }) => called?.case === 'func' && signature?.name === called.value.name,
  )
  if (!restore || !body?.signature) return keys
  const byName = new Map(graphDef!.node.map((one) => [one.name, one]))
  const inner = new Map(body.nodeDef.map((one) => [one.name, one]))
  const args = body.signature.inputArg.map(({ name }) => name)
  const variableOf = (argument: string): NodeDef | undefined =>
    byName.get((restore.input[args.indexOf(argument)] ?? '').split(':')[0])
  for (const { op, input } of body.nodeDef) {
    if (op !== 'AssignVariableOp') continue
    const variable = variableOf(input[0])
    let [from, , at] = input[1].split(':')
    for (let i = 0; inner.get(from)?.op === 'Identity' && i < 8; i++)
      [from, , at] = inner.get(from)!.input[0].split(':')
    const restored = inner.get(from)
    const names =
      restored?.op === 'RestoreV2' ? inner.get(restored.input[1].split(':')[0])?.attr.value?.value : undefined
    if (!variable || names?.case !== 'tensor') continue
    const key = names.value.stringVal[Number(at ?? 0)]
    if (key) keys.set(variableName(variable), new TextDecoder().decode(key))
  }
  return keys
}
