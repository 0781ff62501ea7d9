import { fail } from '../../base/errors.ts'
import { type DataType, dataTypes, type Tensor } from '../../graph/dtype.ts'
import { dtypeOfOip, stringsOf, tensorFromBinary, textsOf } from '../../graph/octets.ts'
import type { Version } from '../../registry/registry.ts'
import { type Answer, type Given, type Slot, viewOf } from '../views.ts'

export const invalid = (message: string, model: string) => fail('TENSOR_INVALID', { message, model })

/** Our name of the protocol's data type; throws TENSOR_INVALID. */
export function dtypeOf(datatype: string, where: string, model: string): DataType {
  const dtype = dtypeOfOip(datatype)
  if (dtype) return dtype
  const known = Object.values(dataTypes)
    .map(({ oip }) => oip)
    .join(', ')
  throw invalid(`${where}.datatype: "${datatype.slice(0, 40)}" is not one of ${known}`, model)
}

/** What an input of some type and shape is, and where it stands in the request. */
interface Place {
  name: string
  dtype: DataType
  dims: readonly number[]
  count: number
  version: Version
}

const refuserOf = ({ name, version }: Place) => {
  const where = `inputs.${name.slice(0, 80)}`
  return (message: string) => invalid(`${where}: ${message}`, version.name)
}

/** An input of strings from their bytes: the files themselves where it is of images, texts elsewhere. */
export function fromStrings(parts: readonly Uint8Array[], place: Place): Given {
  const { name, dims, version } = place
  const slot = viewOf(version)
    .inputs(version.manifest)
    .find((one) => one.name === name)
  if (slot?.image) return { dtype: 'files', dims, data: parts }
  return { dtype: 'string', dims, data: textsOf(parts, refuserOf(place)) }
}

/** An input from its binary data; throws TENSOR_INVALID naming it. */
export function fromBinary(bytes: Uint8Array, place: Place): Given {
  const { dtype, dims, count } = place
  const refuse = refuserOf(place)
  if (dtype === 'string') return fromStrings(stringsOf(bytes, count, refuse), place)
  return tensorFromBinary(bytes, dtype, dims, count, refuse)
}

/** A version's metadata as both REST and gRPC tell it. */
export function modelMetadata(version: Pick<Version, 'name' | 'manifest'>, versions: number[]) {
  const { name, manifest } = version
  const view = viewOf(version)
  const describe = ({ name, dtype, shape }: Slot) => ({ name, datatype: dataTypes[dtype]?.oip ?? dtype, shape })
  return {
    name,
    versions: versions.map(String),
    platform: 'onnx_onnxv1',
    inputs: view.inputs(manifest).map(describe),
    outputs: view.outputs(manifest).map(describe),
  }
}

/** Triton's names of element types in a model's configuration, where they are not ours in capitals. */
const configTypes: Partial<Record<string, string>> = {
  float16: 'TYPE_FP16',
  bfloat16: 'TYPE_BF16',
  float32: 'TYPE_FP32',
  float64: 'TYPE_FP64',
}

/** A version's configuration in Triton's words, as both REST and gRPC tell it. */
export function modelConfig(version: Pick<Version, 'name' | 'manifest'>) {
  const { name, manifest } = version
  const view = viewOf(version)
  const describe = ({ name, dtype, shape }: Slot) => ({
    name,
    data_type: configTypes[dtype] ?? `TYPE_${dtype.toUpperCase()}`,
    dims: shape,
  })
  return {
    name,
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    max_batch_size: 0, // shapes are whole: the first axis is told like any other
    input: view.inputs(manifest).map(describe),
    output: view.outputs(manifest).map(describe),
    ...(manifest.task === 'text-generation' && { model_transaction_policy: { decoupled: true } }),
  }
}

/** Triton's classification extension: for each row the k best as `value:index[:label]`. */
function classify(tensor: Tensor, k: number, labels: readonly string[]): Tensor {
  const classes = tensor.dims.at(-1) ?? 1
  const data = tensor.data as Float32Array
  const rows = data.length / classes
  const top = Math.min(k, classes)
  const texts = Array.from({ length: rows }, (_, row) => {
    const values = Array.from({ length: classes }, (_, i) => [Number(data[row * classes + i]), i] as const)
    values.sort((a, b) => b[0] - a[0] || a[1] - b[1])
    return values.slice(0, top).map(([value, i]) => `${value}:${i}${labels[i] === undefined ? '' : `:${labels[i]}`}`)
  })
  return { dtype: 'string', dims: [...tensor.dims.slice(0, -1), top], data: texts.flat() }
}

interface Wanted {
  name: string
  parameters: Record<string, unknown>
}

/** The outputs that were asked for (all if none were named), as classes where that was asked. Throws TENSOR_INVALID. */
export function wantedOutputs({ tensors, manifest, model }: Answer, wanted: readonly Wanted[] | undefined) {
  const all = Object.keys(tensors)
  const asked: readonly Wanted[] = wanted?.length ? wanted : all.map((name) => ({ name, parameters: {} }))
  return asked.map(({ name, parameters }) => {
    const found = Object.hasOwn(tensors, name) ? tensors[name] : undefined
    if (!found)
      throw invalid(`outputs: the model has no output "${name.slice(0, 80)}"; it has ${all.join(', ')}`, model)
    const k = Number(parameters.classification ?? 0)
    return { name, parameters, tensor: k > 0 && found.dtype !== 'string' ? classify(found, k, manifest.labels) : found }
  })
}
