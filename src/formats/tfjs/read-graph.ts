import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import type { ReadModel } from '../formats.ts'
import { isList, isObject, type Json } from '../keras/config.ts'
import { invalid, parseJson, type Source } from '../source.ts'
import {
  type GraphDef,
  GraphDefSchema,
  type SignatureDef,
  SignatureDefSchema,
} from '../tensorflow/gen/tensorflow_pb.js'
import { readGraph } from '../tensorflow/read.ts'
import { modelJson } from './document.ts'
import { readWeights } from './weights.ts'

const FORMAT = 'TensorFlow.js'
const numbers: Record<string, number> = {
  DT_FLOAT: 1,
  DT_DOUBLE: 2,
  DT_INT32: 3,
  DT_UINT8: 4,
  DT_INT16: 5,
  DT_INT8: 6,
  DT_STRING: 7,
  DT_INT64: 9,
  DT_BOOL: 10,
  DT_HALF: 19,
  DT_RESOURCE: 20,
  DT_VARIANT: 21,
}

/** A TensorFlow.js graph model: TensorFlow's graph in JSON, its weights beside it. Throws UNSUPPORTED or FORMAT_INVALID. */
export async function readTfjsGraph(source: Source): Promise<ReadModel> {
  const name = modelJson(source)
  const document = name && parseJson(FORMAT, source.read(name))
  if (!name || !isObject(document) || !isObject(document.modelTopology))
    throw invalid(FORMAT, 'model.json has no graph')
  const graph = message(() => fromJson(GraphDefSchema, typed(document.modelTopology) as JsonValue, LENIENT))
  const weights = readWeights(document.weightsManifest, source, name.slice(0, name.lastIndexOf('/') + 1))
  return readGraph(
    graph,
    signatureOf(document, graph),
    (variable) => {
      throw invalid(FORMAT, `the variable "${variable.slice(0, 120)}" has no weights`)
    },
    weights,
  )
}

const LENIENT = { ignoreUnknownFields: true }

const message = <T>(read: () => T): T => {
  try {
    return read()
  } catch (error) {
    throw invalid(FORMAT, 'its graph is not described as TensorFlow does', error)
  }
}

/** Element types by their numbers: our messages leave TensorFlow's long list of names out. */
function typed(json: unknown): unknown {
  if (typeof json === 'string') return json.startsWith('DT_') ? (numbers[json] ?? 0) : json
  if (isList(json)) return json.map(typed)
  return isObject(json) ? Object.fromEntries(Object.entries(json).map(([key, value]) => [key, typed(value)])) : json
}

/** The signature that newer converters write; else every placeholder, and every node that feeds no other. */
function signatureOf(document: Json, { node }: GraphDef): Pick<SignatureDef, 'inputs' | 'outputs'> {
  const about = isObject(document.userDefinedMetadata) ? document.userDefinedMetadata.signature : undefined
  const given = isObject(document.signature) ? document.signature : about
  if (isObject(given) && isObject(given.outputs))
    return message(() => fromJson(SignatureDefSchema, typed(given) as JsonValue, LENIENT))
  const used = new Set(
    node.flatMap(({ input }) => input.map((reference) => reference.replace(/^\^/, '').split(':')[0])),
  )
  const described = (names: string[]) => ({
    ...Object.fromEntries(names.map((name) => [name, { name, ...declared(name) }])),
  })
  const declared = (name: string) => {
    const { attr } = node.find((one) => one.name === name)!
    const [dtype, tensorShape] = [attr.dtype?.value, attr.shape?.value]
    return {
      dtype: dtype?.case === 'type' ? dtype.value : 0,
      ...(tensorShape?.case === 'shape' && { tensorShape: tensorShape.value }),
    }
  }
  const named = (test: (one: GraphDef['node'][number]) => boolean) => node.filter(test).map(({ name }) => name)
  return {
    inputs: described(named(({ op }) => op === 'Placeholder')),
    outputs: described(
      named(({ name, op }) => !used.has(name) && op !== 'Placeholder' && op !== 'Const' && op !== 'NoOp'),
    ),
  } as Pick<SignatureDef, 'inputs' | 'outputs'>
}
