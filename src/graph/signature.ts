import type { ModelProto, ValueInfoProto } from './gen/onnx_pb.js'
import { dataTypeOf } from './tensor.ts'

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
