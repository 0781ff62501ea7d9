import { fail } from '../../base/errors.ts'
import type { DataType, Tensor, TypedArray } from '../../graph/tensor.ts'
import type { WrittenModel } from '../formats.ts'
import type { Files } from '../source.ts'
import type { NodeDef, TensorProto } from '../tensorflow/gen/tensorflow_pb.js'
import { tensorOfProto, typeOfNumber } from '../tensorflow/tensors.ts'
import { tensorflowGraph } from '../tensorflow/write.ts'
import { lowerings } from './operators.ts'
import { type LiteOperator, type LiteTensor, liteFile, liteTypes } from './schema.ts'

const instead = 'Export it as onnx, keras or savedmodel instead.'
/** A flatbuffer counts in 32 signed bits. */
const SIZE_LIMIT = 2 ** 31 - 1

/**
 * A version as a TensorFlow Lite model: its TensorFlow graph, operator by operator, weights stored beside them; whole numbers
 * are int32. Throws UNSUPPORTED for recurrent layers, which are loops, for models that write, and naming an operator.
 */
export async function writeLite({ model, manifest }: WrittenModel): Promise<Files> {
  if (manifest.task === 'text-generation')
    throw fail('UNSUPPORTED', {
      what: 'TensorFlow Lite for models that write, whose cache grows with each token,',
      instead: 'Export it as gguf, huggingface or onnx instead.',
    })
  const recurrent = model.graph!.node.find(({ opType }) =>
    ['LSTM', 'GRU', 'RNN', 'Scan', 'Loop', 'If'].includes(opType),
  )
  if (recurrent)
    throw fail('UNSUPPORTED', {
      what: `TensorFlow Lite for recurrent layers (${recurrent.opType}), which in this form are loops of TensorFlow 1,`,
      instead: 'Export it as keras, and convert that with TensorFlow: tf.lite.TFLiteConverter.from_keras_model.',
    })
  // hashes of n-grams are products that only 64 bits hold
  const integers = model.graph!.node.some(({ opType }) => opType === 'Mod') ? 'int64' : 'int32'
  const { graph, inputs, outputs } = tensorflowGraph(model, integers, 'TensorFlow Lite')
  const tensors: LiteTensor[] = []
  const operators: LiteOperator[] = []
  /** The place of each output of a TensorFlow node. */
  const places = new Map<string, number>()
  const stored = new Map<string, Tensor>()
  const put = (tensor: LiteTensor): string => {
    if (liteTypes[tensor.dtype] === undefined)
      throw fail('UNSUPPORTED', { what: `the element type ${tensor.dtype} in TensorFlow Lite`, instead })
    places.set(tensor.name, tensors.push(tensor) - 1)
    return tensor.name
  }
  const constant = (name: string, { dtype, dims, data }: Tensor) => {
    const { buffer, byteOffset, byteLength } = data as TypedArray
    return put({ name, dtype, dims, data: new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength) })
  }
  let made = 0
  for (const node of graph.node) {
    const { name, op, input } = node
    if (op === 'Const') {
      const tensor = tensorOfProto(attrOf(node, 'value') as TensorProto, name)
      stored.set(name, tensor)
      continue // in the file only where an operator takes it as it is
    }
    const type = (key: string): DataType => typeOfNumber(attrOf(node, key) as number, name)
    if (op === 'Placeholder') {
      const { dim } = attrOf(node, 'shape') as { dim: { size: bigint }[] }
      put({ name, dtype: type('dtype'), dims: dim.map(({ size }) => Number(size)) })
      continue
    }
    const refuse = (why: string): never => {
      throw fail('UNSUPPORTED', { what: `the operator ${op} in TensorFlow Lite: ${why};`.slice(0, 200), instead })
    }
    const rule = Object.hasOwn(lowerings, op) ? lowerings[op] : refuse('it is not in the table of operators')
    const results = rule({
      op,
      inputs: input,
      int: (key) => Number(attrOf(node, key)),
      flag: (key) => Boolean(attrOf(node, key)),
      list: (key) => (attrOf(node, key) as { i: bigint[] }).i.map(Number),
      type,
      stored: (i) => stored.get(input[i]) ?? refuse(`its input ${i} is computed`),
      constant: (tensor) => constant(`${name}/constant_${made++}`, tensor),
      refuse,
      add(code, from, dtype, options, count = 1) {
        const taken = from.map((one) => {
          if (!places.has(one)) constant(one, stored.get(one)!)
          return places.get(one)!
        })
        const results = Array.from({ length: count }, () => put({ name: `${name}/${made++}`, dtype }))
        operators.push({ code, inputs: taken, outputs: results.map((one) => places.get(one)!), options })
        return results
      },
    })
    results.forEach((result, i) => {
      if (!places.has(result)) constant(result, stored.get(result)!)
      places.set(i === 0 ? name : `${name}:${i}`, places.get(result)!)
    })
  }
  const placed = (infos: Record<string, { name: string }>) =>
    Object.fromEntries(Object.entries(infos).map(([key, { name }]) => [key, places.get(name.replace(/:0$/, ''))!]))
  const size = tensors.reduce((sum, { data }) => sum + (data?.byteLength ?? 0), 0)
  if (size > SIZE_LIMIT / 2)
    throw fail('UNSUPPORTED', { what: 'a TensorFlow Lite model of more than 1 GiB', instead: 'Export it as onnx.' })
  return {
    'model.tflite': liteFile({ tensors, operators, inputs: placed(inputs), outputs: placed(outputs) }),
  }
}

/** The value of a node's attribute, whatever its kind. */
const attrOf = ({ attr }: NodeDef, name: string): unknown => attr[name]?.value.value
