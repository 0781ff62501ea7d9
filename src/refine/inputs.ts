import type ort from 'onnxruntime-node'
import { fail } from '../base/errors.ts'
import { random } from '../base/random.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { toOrt } from '../engine/session.ts'
import type { DataType, Tensor } from '../graph/tensor.ts'
import { fromNumbers } from '../graph/tensor.ts'
import type { Subject } from './subject.ts'

/** What a graph is run on once: its inputs by name, and the row of the sample that each row of the batch is. */
export interface Feeds {
  readonly tensors: Record<string, Tensor>
  readonly rows: readonly number[]
}

const BATCH = 32

/** What each input of a text classifier's graph gets from padded ids and lengths, by its name. */
const textInputs: Record<string, (ids: BigInt64Array, lengths: readonly number[], time: number) => BigInt64Array> = {
  ids: (ids) => ids,
  input_ids: (ids) => ids,
  lengths: (_ids, lengths) => BigInt64Array.from(lengths, BigInt),
  attention_mask: (_ids, lengths, time) =>
    BigInt64Array.from({ length: lengths.length * time }, (_, i) =>
      i % time < lengths[Math.floor(i / time)] ? 1n : 0n,
    ),
  token_type_ids: (ids) => new BigInt64Array(ids.length),
}

/**
 * Batches to run a graph on: texts through its pipeline, alike lengths together; numbers drawn for a model that takes
 * tensors. Throws UNSUPPORTED for models of other tasks.
 */
export async function feedsFor(subject: Subject, texts: readonly string[]): Promise<Feeds[]> {
  const { manifest } = subject
  if (manifest.task === 'tensor') return drawn(manifest, 4)
  const names = manifest.signature.inputs.map(({ name }) => name)
  if (manifest.task !== 'text-classification' || !names.every((name) => name in textInputs)) {
    throw fail('UNSUPPORTED', {
      what: `choosing by data for a model of the task ${manifest.task}`,
      instead: 'Use passes that need no data, e.g. --quantize float16.',
    })
  }
  const encoded = await pipelineOf(subject).encode(texts)
  const order = [...encoded.keys()].sort((a, b) => encoded[a].length - encoded[b].length || a - b)
  return Array.from({ length: Math.ceil(order.length / BATCH) }, (_, b) => {
    const rows = order.slice(b * BATCH, (b + 1) * BATCH)
    const lengths = rows.map((row) => encoded[row].length)
    const time = Math.max(...lengths)
    const ids = new BigInt64Array(rows.length * time)
    rows.forEach((row, r) => {
      encoded[row].forEach((id, t) => {
        ids[r * time + t] = BigInt(id)
      })
    })
    const tensors = names.map((name) => {
      const data = textInputs[name](ids, lengths, time)
      const dims = name === 'lengths' ? [rows.length] : [rows.length, time]
      return [name, { dtype: 'int64', dims, data } satisfies Tensor] as const
    })
    return { rows, tensors: Object.fromEntries(tensors) }
  })
}

/** The pipeline of a text model. */
export const pipelineOf = ({ manifest, files }: Subject): TextPipeline =>
  TextPipeline.load(
    manifest.pipeline as unknown as PipelineConfig,
    Buffer.from(files['tokenizer.json']).toString('utf8'),
  )

/** Sizes taken for symbolic axes of plain graphs: few rows, and something for the others. */
const [ROWS, OTHER] = [8, 16]

/** Inputs for a plain graph, drawn by a seed: normal numbers for floats, 0 and 1 for whole ones. */
export function drawn({ signature }: Manifest, batches: number): Feeds[] {
  const next = random(1)
  return Array.from({ length: batches }, () => {
    const sizes = new Map<string, number>()
    const tensors = signature.inputs.map(({ name, dtype, shape }) => {
      const dims = shape.map((dim, axis) => {
        if (typeof dim === 'number') return dim
        if (!sizes.has(dim)) sizes.set(dim, axis === 0 ? ROWS : OTHER)
        return sizes.get(dim)!
      })
      const floats = dtype === 'float32' || dtype === 'float64'
      if (!floats && dtype !== 'int64' && dtype !== 'int32' && dtype !== 'bool') {
        throw fail('UNSUPPORTED', {
          what: `drawing inputs of ${dtype}`,
          instead: 'Models whose inputs are floats, whole numbers or truth values can be measured.',
        })
      }
      const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
      const count = dims.reduce((a, b) => a * b, 1)
      const values = Array.from({ length: count }, () => (floats ? normal() : Math.round(next())))
      return [name, fromNumbers(dtype as DataType, dims, values)] as const
    })
    return { rows: [], tensors: Object.fromEntries(tensors) }
  })
}

/** The tensors of a batch as the engine takes them. */
export const ortFeeds = ({ tensors }: Feeds): Record<string, ort.Tensor> =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, toOrt(tensor)]))
