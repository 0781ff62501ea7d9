import { create } from '@bufbuild/protobuf'
import { type DataType, dataTypes, type Tensor, type TypedArray } from '../../graph/dtype.ts'
import { countOf } from '../../graph/values.ts'
import type { Version } from '../../registry/registry.ts'
import type { Given } from '../views.ts'
import {
  type InferParameter,
  type InferTensorContents,
  InferTensorContentsSchema,
  type ModelInferRequest,
  type ModelInferRequest_InferInputTensor,
} from './gen/inference_pb.js'
import { dtypeOf, fromBinary, fromStrings, invalid } from './tensors.ts'

type Field = Exclude<keyof InferTensorContents, `$${string}`>

/** Where the elements of each type lie; 16-bit floats have no place and go raw. */
const fields: Partial<Record<DataType, Field>> = {
  bool: 'boolContents',
  int8: 'intContents',
  int16: 'intContents',
  int32: 'intContents',
  int64: 'int64Contents',
  uint8: 'uintContents',
  uint16: 'uintContents',
  uint32: 'uintContents',
  uint64: 'uint64Contents',
  float32: 'fp32Contents',
  float64: 'fp64Contents',
  string: 'bytesContents',
}

/** A request's inputs by name; throws TENSOR_INVALID naming the place. */
export function readInputs(
  { inputs, rawInputContents: raw }: ModelInferRequest,
  version: Version,
): Record<string, Given> {
  const model = version.name
  if (raw.length > 0 && raw.length !== inputs.length)
    throw invalid(`raw_input_contents: expected one for each of the ${inputs.length} inputs, got ${raw.length}`, model)
  const tensors: Record<string, Given> = Object.create(null)
  inputs.forEach((input, i) => {
    if (input.name in tensors) throw invalid('inputs: two of one name', model)
    tensors[input.name] = readInput(input, raw[i], version)
  })
  return tensors
}

function readInput(input: ModelInferRequest_InferInputTensor, raw: Uint8Array | undefined, version: Version): Given {
  const { name } = input
  const where = `inputs.${name.slice(0, 80)}`
  const refuse = (message: string) => invalid(`${where}: ${message}`, version.name)
  const dtype = dtypeOf(input.datatype, where, version.name)
  const dims = input.shape.map(Number)
  const count = countOf(dims, where, version.name)
  const place = { name, dtype, dims, count, version }
  if (raw) return fromBinary(raw, place)
  const field = fields[dtype]
  if (!field) throw refuse(`${input.datatype} must be sent in raw_input_contents`)
  const values = (input.contents?.[field] ?? []) as readonly (number | bigint | boolean | Uint8Array)[]
  if (values.length !== count) throw refuse(`expected ${count} elements in its contents, got ${values.length}`)
  if (dtype === 'string') return fromStrings(values as readonly Uint8Array[], place)
  const data = new dataTypes[dtype].array!(count) as TypedArray
  values.forEach((value, at) => {
    const plain = typeof value === 'boolean' ? Number(value) : value
    ;(data as Float32Array)[at] = plain as number
    if ((typeof plain === 'bigint' || dtype.includes('int')) && (data as Float32Array)[at] !== plain)
      throw refuse(`${plain} does not fit ${dtype}`)
  })
  return { dtype, dims, data }
}

/** A tensor's elements in their field, or `undefined` for types that go raw only. */
export function contentsOf({ dtype, data }: Tensor): InferTensorContents | undefined {
  const field = fields[dtype]
  if (!field) return undefined
  const values =
    dtype === 'string'
      ? (data as string[]).map((text) => Buffer.from(text, 'utf8'))
      : dtype === 'bool'
        ? Array.from(data as Uint8Array, (value) => value !== 0)
        : Array.from(data as Float32Array)
  return create(InferTensorContentsSchema, { [field]: values })
}

/** Parameters as plain values; 64-bit integers as numbers. */
export function parametersOf(given: Record<string, InferParameter>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).map(([name, { parameterChoice: choice }]) => [
      name,
      typeof choice.value === 'bigint' ? Number(choice.value) : choice.value,
    ]),
  )
}
