import { fail } from '../../base/errors.ts'
import { type DataType, dataTypes, type Tensor } from '../../graph/dtype.ts'
import { dtypeOfOip } from '../../graph/octets.ts'
import type { Version } from '../../registry/registry.ts'
import { type Answer, type Slot, viewOf } from '../views.ts'

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
