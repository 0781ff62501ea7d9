import { elements, float32, type Tensor } from '../../graph/tensor.ts'
import { isList, isObject } from '../keras/config.ts'
import { checkFileName, type Files, invalid, type Source } from '../source.ts'

const FORMAT = 'TensorFlow.js'
/** As the converter cuts them, so that browsers can cache each part. */
const SHARD = 4 << 20
const COUNT_LIMIT = 100_000
const types = { float32: 4, int32: 4, bool: 1, uint8: 1, uint16: 2 } as const
const readers = {
  float32: (bytes: ArrayBuffer) => new Float32Array(bytes),
  int32: (bytes: ArrayBuffer) => new Int32Array(bytes),
  bool: (bytes: ArrayBuffer) => new Uint8Array(bytes),
} as const

/** The tensors of a weights manifest, by name and in order. Throws FORMAT_INVALID. */
export function readWeights(manifest: unknown, source: Source, folder: string): Map<string, Tensor> {
  if (!isList(manifest)) throw invalid(FORMAT, 'model.json has no weights manifest')
  const tensors = new Map<string, Tensor>()
  for (const group of manifest) {
    if (!isObject(group) || !isList(group.paths) || !isList(group.weights))
      throw invalid(FORMAT, 'a weight group is not described')
    const bytes = joined(group.paths.map((path) => source.read(checkFileName(folder + String(path)))))
    let offset = 0
    for (const weight of group.weights) {
      if (tensors.size >= COUNT_LIMIT) throw invalid(FORMAT, 'too many weights')
      if (!isObject(weight) || typeof weight.name !== 'string' || !isList(weight.shape))
        throw invalid(FORMAT, 'a weight is not described')
      if (tensors.has(weight.name)) throw invalid(FORMAT, `two weights named "${weight.name.slice(0, 80)}"`)
      const { tensor, length } = weightAt(weight, bytes, offset)
      offset += length
      tensors.set(weight.name, tensor)
    }
    if (offset !== bytes.byteLength)
      throw invalid(FORMAT, `a weight group of ${bytes.byteLength} bytes instead of ${offset}`)
  }
  return tensors
}

function weightAt(
  weight: Record<string, unknown>,
  bytes: Uint8Array,
  offset: number,
): { tensor: Tensor; length: number } {
  const where = `weight "${String(weight.name).slice(0, 80)}"`
  const dims = (weight.shape as unknown[]).map(Number)
  const count = elements(dims)
  const dtype = String(weight.dtype) as keyof typeof readers
  if (!Object.hasOwn(readers, dtype)) throw invalid(FORMAT, `${where} has the type ${dtype.slice(0, 40)}`)
  const quantization = isObject(weight.quantization) ? weight.quantization : undefined
  const stored = quantization ? (String(quantization.dtype) as keyof typeof types) : dtype
  if (quantization && stored !== 'uint8' && stored !== 'uint16')
    throw invalid(FORMAT, `${where} is quantized as ${stored.slice(0, 40)}`)
  const length = count * types[stored]
  if (length > bytes.byteLength - offset) throw invalid(FORMAT, `${where} lies beyond its file`)
  const buffer = bytes.slice(offset, offset + length).buffer
  if (!quantization) return { tensor: { dtype, dims, data: readers[dtype](buffer) }, length }
  const [scale, least] = [Number(quantization.scale), Number(quantization.min)]
  if (dtype !== 'float32' || !Number.isFinite(scale) || !Number.isFinite(least))
    throw invalid(FORMAT, `${where} is quantized wrongly`)
  const codes = stored === 'uint8' ? new Uint8Array(buffer) : new Uint16Array(buffer)
  return {
    tensor: float32(
      dims,
      Float32Array.from(codes, (value) => value * scale + least),
    ),
    length,
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.byteLength
  }
  return whole
}

/** The manifest and files of weights, in shards. */
export function writeWeights(weights: readonly { name: string; tensor: Tensor }[]) {
  const bytes = joined(
    weights.map(({ tensor: { data } }) => {
      const { buffer, byteOffset, byteLength } = data as Float32Array
      return new Uint8Array(buffer, byteOffset, byteLength)
    }),
  )
  const count = Math.max(1, Math.ceil(bytes.byteLength / SHARD))
  const files: Files = {}
  for (let i = 0; i < count; i++) files[`group1-shard${i + 1}of${count}.bin`] = bytes.slice(i * SHARD, (i + 1) * SHARD)
  const described = weights.map(({ name, tensor }) => ({ name, shape: [...tensor.dims], dtype: tensor.dtype }))
  return { manifest: [{ paths: Object.keys(files), weights: described }], files }
}
