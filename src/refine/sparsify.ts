import { gzipSync } from 'node:zlib'
import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { writeModel } from '../graph/codec.ts'
import { Edit } from '../graph/edit.ts'
import { type ModelProto, type SparseTensorProto, SparseTensorProtoSchema } from '../graph/gen/onnx_pb.js'
import { float32, int64, type Tensor } from '../graph/tensor.ts'
import { toProto } from '../graph/tensor-proto.ts'
import type { Option } from '../train/options.ts'
import { type Pass, plain } from './pass.ts'
import { withModel } from './subject.ts'

/** Weights below this many numbers keep all of them. */
const LEAST_NUMBERS = 512
/** Bytes of a stored number and its place; a dense one takes four. */
const [SPARSE_BYTES, DENSE_BYTES] = [12, 4]

const options = {
  share: {
    type: 'number',
    default: 0.8,
    minimum: 0,
    maximum: 0.99,
    description: 'of each weight’s numbers, the smallest that become zero',
  },
  pattern: {
    type: 'string',
    default: 'any',
    description: 'any, or N:M such as 2:4: of M numbers next to each other the N largest stay, whatever the share',
  },
} as const satisfies Record<string, Option>

/**
 * Magnitude pruning (Han et al. 2015): the smallest weights become zero. Engines compute with zeros as with other numbers, so
 * this is about size alone: of the compressed file, and of the file itself where so few numbers are left that storing their
 * places costs less than the zeros do.
 */
export const sparsify: Pass = {
  description: 'set the smallest weights to zero: smaller files, not faster ones',
  options,
  wantsFloats: true,
  apply: plain((subject, { share, pattern }) => {
    const keep = keptBy(String(pattern), Number(share))
    const edit = new Edit(subject.model)
    const sparse: SparseTensorProto[] = []
    let [zeros, all] = [0, 0]
    for (const { name } of [...edit.graph.initializer]) {
      const dims = edit.dims(name)
      const weight = dims && dims.length >= 2 ? edit.tensor(name) : undefined
      if (weight?.dtype !== 'float32' || weight.data.length < LEAST_NUMBERS) continue
      const values = keep(weight.data as Float32Array)
      const left = values.reduce((count, value) => count + (value === 0 ? 0 : 1), 0)
      zeros += values.length - left
      all += values.length
      if (left * SPARSE_BYTES < values.length * DENSE_BYTES) {
        sparse.push(stored(name, weight, values))
        edit.graph.initializer = edit.graph.initializer.filter((one) => one.name !== name)
      } else edit.restore(name, float32(weight.dims, values))
    }
    edit.graph.sparseInitializer = [...edit.graph.sparseInitializer, ...sparse]
    const model = edit.finish()
    const [before, after] = [subject.model, model].map(compressed)
    const percent = (part: number, whole: number) => `${((100 * part) / Math.max(1, whole)).toFixed(0)} %`
    const note = `${percent(zeros, all)} of ${all} weights are zero; compressed, the graph takes ${percent(after, before)} of its bytes before; it is not faster`
    return { subject: withModel(subject, model), note }
  }),
}

const compressed = (model: ModelProto) => gzipSync(writeModel(model), { level: 1 }).byteLength

/** The numbers with the smallest set to zero. */
function keptBy(pattern: string, share: number): (values: Float32Array) => Float32Array {
  if (pattern === 'any') {
    return (values) => {
      const sorted = values.map(Math.abs).sort()
      const bound = sorted[Math.floor(share * sorted.length)]
      return values.map((value) => (Math.abs(value) < bound ? 0 : value))
    }
  }
  const [n, m] = (/^(\d+):(\d+)$/.exec(pattern) ?? []).slice(1).map(Number)
  if (!(n >= 1 && m > n && m <= 64))
    throw fail('OPTION_INVALID', { option: 'pattern', reason: `expected any or N:M such as 2:4, got "${pattern}"` })
  return (values) => {
    const kept = new Float32Array(values.length)
    for (let start = 0; start < values.length; start += m) {
      const group = Array.from({ length: Math.min(m, values.length - start) }, (_, i) => start + i)
      group.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b)
      for (const at of group.slice(0, n)) kept[at] = values[at]
    }
    return kept
  }
}

/** The numbers that are not zero, and where they stand in row-major order. */
function stored(name: string, { dims }: Tensor, values: Float32Array): SparseTensorProto {
  const places = [...values.keys()].filter((at) => values[at] !== 0)
  return create(SparseTensorProtoSchema, {
    values: toProto(
      float32(
        [places.length],
        places.map((at) => values[at]),
      ),
      name,
    ),
    indices: toProto(int64([places.length], places), `${name}.places`),
    dims: dims.map(BigInt),
  })
}
