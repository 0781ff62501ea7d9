import { fail } from '../base/errors.ts'
import type { ModelProto, ValueInfoProto } from './gen/onnx_pb.js'
import { type DataType, dataTypeOf, isDataType } from './tensor.ts'

/** A graph's input or output: symbolic or unknown dimensions are strings. */
export interface TensorSignature {
  name: string
  dtype: string
  shape: (number | string)[]
}

/** Inputs (without those that only give initializers a default) and outputs of a model. */
export function signatureOf({ graph }: ModelProto): { inputs: TensorSignature[]; outputs: TensorSignature[] } {
  const stored = new Set(graph?.initializer.map(({ name }) => name))
  return {
    inputs: (graph?.input ?? []).filter(({ name }) => !stored.has(name)).map(describe),
    outputs: (graph?.output ?? []).map(describe),
  }
}

function describe({ name, type }: ValueInfoProto): TensorSignature {
  if (type?.value.case !== 'tensorType') return { name, dtype: type?.value.case ?? 'unknown', shape: [] }
  const { elemType, shape } = type.value.value
  return {
    name,
    dtype: dataTypeOf(elemType) ?? `type ${elemType}`,
    shape: (shape?.dim ?? []).map(({ value }, i) => {
      if (value.case === 'dimValue') return Number(value.value)
      return value.case === 'dimParam' && value.value !== '' ? value.value : `${name}_${i}`
    }),
  }
}

/** An input with its element type; symbolic and unknown dimensions are strings. Throws MODEL_INVALID for other than tensors. */
export function tensorInput(info: ValueInfoProto): { name: string; dtype: DataType; shape: (number | string)[] } {
  const { name, dtype, shape } = describe(info)
  if (!isDataType(dtype))
    throw fail('MODEL_INVALID', { reason: `the input "${name.slice(0, 80)}" is of type ${dtype}` })
  return { name, dtype, shape }
}

/** The model with `batch` as the first axis of each input and output, whatever number it had, and no other shapes told. */
export function batched(model: ModelProto): ModelProto {
  const graph = model.graph!
  const free = (info: ValueInfoProto): ValueInfoProto => {
    if (info.type?.value.case !== 'tensorType') return info
    const tensor = info.type.value.value
    const [first, ...dims] = tensor.shape?.dim ?? []
    if (!first) return info
    const dim = [{ ...first, value: { case: 'dimParam' as const, value: 'batch' } }, ...dims]
    const shape = { ...tensor.shape!, dim }
    return { ...info, type: { ...info.type, value: { case: 'tensorType', value: { ...tensor, shape } } } }
  }
  const stored = new Set(graph.initializer.map(({ name }) => name))
  const input = graph.input.filter(({ name }) => !stored.has(name)).map(free)
  return { ...model, graph: { ...graph, input, output: graph.output.map(free), valueInfo: [] } }
}
