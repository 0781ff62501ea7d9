import { fail } from '../base/errors.ts'
import type ort from '../base/onnxruntime.ts'
import { random } from '../base/random.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { TextCodec } from '../data/codec.ts'
import { type ImagePipelineConfig, planesOf, standardise } from '../data/images/pixels.ts'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { PublishedTokenizer } from '../data/published.ts'
import { toOrt } from '../engine/session.ts'
import type { DataType, Tensor } from '../graph/tensor.ts'
import { fromNumbers } from '../graph/tensor.ts'
import type { Example } from './examples/example.ts'
import type { Subject } from './subject.ts'

/** What a graph is run on once: its inputs by name, and the row of the sample that each row of the batch is. */
export interface Feeds {
  readonly tensors: Record<string, Tensor>
  readonly rows: readonly number[]
}

const BATCH = 32
/** Tokens read of a text by a model that writes. */
const WRITTEN = 64

/** What each input of a graph of texts gets from padded ids and lengths, by its name. */
const textInputs: Record<string, (ids: BigInt64Array, lengths: readonly number[], time: number) => BigInt64Array> = {
  ids: (ids) => ids,
  input_ids: (ids) => ids,
  lengths: (_ids, lengths) => BigInt64Array.from(lengths, BigInt),
  attention_mask: (_ids, lengths, time) =>
    BigInt64Array.from({ length: lengths.length * time }, (_, i) =>
      i % time < lengths[Math.floor(i / time)] ? 1n : 0n,
    ),
  token_type_ids: (ids) => new BigInt64Array(ids.length),
  position_ids: (ids, _lengths, time) => BigInt64Array.from(ids, (_, i) => BigInt(i % time)),
  // of fill-mask: a word in the middle is as good to compare by as any
  positions: (_ids, lengths) => BigInt64Array.from(lengths, (length) => BigInt(length >> 1)),
}
const perText: Record<string, (rows: number) => number[]> = {
  lengths: (rows) => [rows],
  positions: (rows) => [rows, 1],
}

/**
 * Batches to run a graph on: texts through its pipeline, alike lengths together; images at its size; numbers drawn for a
 * model that takes tensors. Throws UNSUPPORTED for graphs with other inputs.
 */
export async function feedsFor(subject: Subject, examples: readonly Example[]): Promise<Feeds[]> {
  const { manifest } = subject
  if (manifest.task === 'tensor') return drawn(manifest, 4)
  if (manifest.task === 'image-classification') return imageFeeds(manifest, examples)
  if (!textNames(manifest).every((name) => name in textInputs)) {
    throw fail('UNSUPPORTED', {
      what: `choosing by data for a graph that takes ${textNames(manifest).join(', ')}`,
      instead: 'Use passes that need no data, e.g. --quantize float16.',
    })
  }
  return feedsOf(
    manifest,
    await encodedBy(
      subject,
      examples.map(({ text }) => text),
    ),
  )
}

/** What a graph of texts takes beside caches. */
const textNames = ({ signature }: Manifest) =>
  signature.inputs.flatMap(({ name }) => (name.startsWith('past_key_values.') ? [] : [name]))

/** Batches of texts as token ids, alike lengths together. */
function feedsOf(manifest: Manifest, encoded: readonly Int32Array[]): Feeds[] {
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
    const tensors = textNames(manifest).map((name) => {
      const data = textInputs[name](ids, lengths, time)
      const dims = perText[name]?.(rows.length) ?? [rows.length, time]
      return [name, { dtype: 'int64', dims, data } satisfies Tensor] as const
    })
    return { rows, tensors: { ...Object.fromEntries(tensors), ...emptyPast(manifest, rows.length) } }
  })
}

/** Caches of which nothing was read yet. */
const emptyPast = ({ signature }: Manifest, rows: number): Record<string, Tensor> =>
  Object.fromEntries(
    signature.inputs.flatMap(({ name, shape: [, heads, , size] }) =>
      name.startsWith('past_key_values.')
        ? [[name, { dtype: 'float32', dims: [rows, Number(heads), 0, Number(size)], data: new Float32Array(0) }]]
        : [],
    ),
  )

/** Token ids of texts: of those that are written with, the first few of each. */
export async function encodedBy(subject: Subject, texts: readonly string[]): Promise<Int32Array[]> {
  const { manifest, files } = subject
  if (manifest.task !== 'text-generation') return tokenizerOf(subject).encode(texts)
  const codec = TextCodec.load(Buffer.from(files['tokenizer.json']).toString('utf8'))
  const limit = Math.min(WRITTEN, Number(manifest.pipeline?.context))
  return (await codec.encodeAll(texts)).flatMap((ids) => (ids.length > 0 ? [ids.slice(0, limit)] : []))
}

function imageFeeds(manifest: Manifest, examples: readonly Example[]): Feeds[] {
  const config = manifest.pipeline as unknown as ImagePipelineConfig
  const { channels, height, width } = config
  const size = channels * height * width
  const [{ name }] = manifest.signature.inputs
  return Array.from({ length: Math.ceil(examples.length / BATCH) }, (_, b) => {
    const rows = [...examples.keys()].slice(b * BATCH, (b + 1) * BATCH)
    const data = new Float32Array(rows.length * size)
    rows.forEach((row, i) => {
      const { image } = examples[row]
      if (image && !(image instanceof Uint8Array)) standardise(planesOf(image), config, data, i * size)
    })
    return { rows, tensors: { [name]: { dtype: 'float32', dims: [rows.length, channels, height, width], data } } }
  })
}

/** The tokenizer of a model that reads texts; encoders of fill-mask and labelled tokens have the published one alone. */
export function tokenizerOf(subject: Subject) {
  const { manifest, files } = subject
  if (manifest.pipeline?.tokenizer !== undefined) return pipelineOf(subject)
  const json = Buffer.from(files['tokenizer.json']).toString('utf8')
  return new PublishedTokenizer(json, { maxLength: Number(manifest.pipeline?.maxLength) })
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
