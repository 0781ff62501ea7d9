import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import type { PipelineConfig } from '../../data/pipeline.ts'
import { type ModelProto, ModelProtoSchema } from '../../graph/gen/onnx_pb.js'
import { inferModel } from '../../graph/infer.ts'
import { operatorName } from '../../graph/operators.ts'
import { signatureOf } from '../../graph/signature.ts'
import type { DataType, Tensor } from '../../graph/tensor.ts'
import { fromProto } from '../../graph/tensor-proto.ts'
import type { WrittenModel } from '../formats.ts'
import { convertOpset } from '../onnx/opset.ts'
import { makePortable } from '../onnx/portable.ts'
import type { Files } from '../source.ts'
import { type GraphDef, SavedModelSchema, type TensorInfo, TensorInfoSchema } from './gen/tensorflow_pb.js'
import { shapeProto, TfGraph, tfTypes } from './graphdef.ts'
import { writers } from './operators.ts'
import { expressible, textInput } from './texts.ts'

/** The operator set that the table of operators is written for. */
const OPSET = 13
const VERSION = '2.15.0'

export interface WrittenGraph {
  graph: GraphDef
  inputs: Record<string, TensorInfo>
  outputs: Record<string, TensorInfo>
}

/** Adds what inputs come from when they are not fed, by their names. */
type Defaults = (g: TfGraph) => Readonly<Record<string, string>>

/**
 * A model as a TensorFlow graph with its weights stored in it; `integers` is the type of whole numbers. Throws
 * UNSUPPORTED naming an operator that is not in the table.
 */
export function tensorflowGraph(
  model: ModelProto,
  integers: 'int64' | 'int32',
  format: string,
  defaults: Defaults = () => ({}),
): WrittenGraph {
  const copy = fromBinary(ModelProtoSchema, toBinary(ModelProtoSchema, model))
  makePortable(copy)
  convertOpset(copy, OPSET)
  const types = inferModel(copy)
  const g = new TfGraph(integers)
  const names = new Map<string, string>()
  const stored = new Map<string, Tensor>()
  const used = new Map<string, string>()
  const typeOf = (name: string): DataType => g.typed(types.get(name)?.dtype ?? 'float32')
  const { inputs, outputs } = signatureOf(copy)
  const info = (name: string, value: string, shape: readonly (number | string)[]) =>
    create(TensorInfoSchema, {
      name: `${value}:0`,
      dtype: tfTypes[typeOf(name)]!,
      tensorShape: shapeProto(shape.map((dim) => (typeof dim === 'number' ? dim : -1))),
    })

  const otherwise = defaults(g)
  const described: Record<string, TensorInfo> = {}
  for (const { name, shape } of inputs) {
    const dims = shape.map((dim) => (typeof dim === 'number' ? dim : -1))
    const given = Object.hasOwn(otherwise, name) ? otherwise[name] : undefined
    const attrs = { dtype: { type: typeOf(name) }, shape: { shape: dims } }
    const value = g.add(given ? 'PlaceholderWithDefault' : 'Placeholder', given ? [given] : [], attrs, name)
    names.set(name, value)
    described[name] = info(name, value, shape)
  }
  for (const proto of copy.graph!.initializer) stored.set(proto.name, fromProto(proto))
  const named = (name: string): string => {
    if (name === '') return ''
    const known = names.get(name) ?? used.get(name)
    if (known) return known
    const value = g.constant(stored.get(name)!, name)
    used.set(name, value)
    return value
  }
  for (const node of copy.graph!.node) {
    const refuse = (why: string): never => {
      throw fail('UNSUPPORTED', {
        what: `the operator ${operatorName(node)} "${node.name.slice(0, 80)}" in ${format}`,
        instead: `${why[0].toUpperCase()}${why.slice(1)}. Export it as onnx instead.`,
      })
    }
    const write = Object.hasOwn(writers, operatorName(node)) ? writers[operatorName(node)] : undefined
    if (!write) return refuse('it is not in the table of operators')
    const made = write({
      g,
      node,
      // weights that a rule turns into another form are not stored twice
      get inputs() {
        return node.input.map(named)
      },
      type: (i) => typeOf(node.input[i]),
      shape: (i) => types.get(node.input[i])?.shape ?? refuse('the rank of an input is not known'),
      stored: (i) => stored.get(node.input[i]),
      refuse,
    })
    ;[made].flat().forEach((value, i) => {
      names.set(node.output[i], value)
    })
  }
  const results: Record<string, TensorInfo> = {}
  for (const { name, shape } of outputs) {
    const value = g.add('Identity', [names.get(name)!], { T: { type: typeOf(name) } }, `${name}_out`)
    results[name] = info(name, value, types.get(name)?.shape ?? shape)
  }
  return { graph: g.graph(), inputs: described, outputs: results }
}

const SIGNATURE = { methodName: 'tensorflow/serving/predict' }
const STRING = 7

/**
 * A SavedModel with the signature `serving_default`, and `serving_texts` where TensorFlow can cut the model's texts into ids;
 * weights are constants of its graph. Throws UNSUPPORTED.
 */
export async function writeSavedModel({ model, manifest, tokenizer }: WrittenModel): Promise<Files> {
  const config = manifest.pipeline as unknown as PipelineConfig | undefined
  const cut = config && tokenizer !== undefined && expressible(config) ? config : undefined
  let texts: string | undefined
  const { graph, inputs, outputs } = tensorflowGraph(model, 'int64', 'a SavedModel', (g) => {
    if (!cut) return {}
    const added = textInput(g, cut, JSON.parse(tokenizer!).model.vocab)
    texts = added.texts
    return added.defaults
  })
  const ofTexts = texts && { texts: { name: `${texts}:0`, dtype: STRING, tensorShape: shapeProto([-1]) } }
  const saved = create(SavedModelSchema, {
    savedModelSchemaVersion: 1n,
    metaGraphs: [
      {
        metaInfoDef: { tags: ['serve'], tensorflowVersion: VERSION },
        graphDef: graph,
        signatureDef: {
          serving_default: { inputs, outputs, ...SIGNATURE },
          ...(ofTexts && { serving_texts: { inputs: ofTexts, outputs, ...SIGNATURE } }),
        },
      },
    ],
  })
  const bytes = toBinary(SavedModelSchema, saved)
  if (bytes.byteLength > 2 ** 31 - 1)
    throw fail('UNSUPPORTED', { what: 'a SavedModel of more than 2 GiB', instead: 'Quantize or prune it first.' })
  return { 'saved_model.pb': bytes }
}
