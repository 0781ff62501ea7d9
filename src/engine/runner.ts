import ort from 'onnxruntime-node'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { readModel } from '../graph/codec.ts'
import type { DataType, Tensor, TypedArray } from '../graph/tensor.ts'
import {
  type EngineAnswer,
  type EngineRequest,
  type GenerationEvent,
  type GenerationRequest,
  monotonic,
} from './messages.ts'
import { textGeneration } from './runners/text-generation.ts'

/** Runs requests of one bundle; `run` yields an answer for each, in whatever order they are done. */
export interface Runner {
  readonly batches: number
  run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer>
  /** Writes a text, beside other generations that are under way; ends with an `end` event, soon after `signal` fires. */
  generate?(request: GenerationRequest, signal: AbortSignal): AsyncIterable<GenerationEvent>
}

export interface RunnerOptions {
  threads: number
  /** Most tokens in one batch, padding included. */
  tokenBudget: number
}

/** Most texts in one batch. */
const ROW_LIMIT = 128

/**
 * Checks the model with our own reader, before native code sees it, and opens it with the pipeline that its task needs.
 * Throws MODEL_INVALID or BUNDLE_INVALID.
 */
export async function createRunner(
  manifest: Manifest,
  read: (file: string) => Uint8Array,
  options: RunnerOptions,
): Promise<Runner> {
  const bytes = read('model.onnx')
  readModel(bytes)
  let session: ort.InferenceSession
  try {
    session = await ort.InferenceSession.create(bytes, {
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      // a waiting thread that spins takes the core that the control process needs
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    })
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'the engine cannot load it' }, { cause: error })
  }
  if (manifest.task === 'tensor') return tensorRunner(session)
  const json = Buffer.from(read('tokenizer.json')).toString('utf8')
  if (manifest.task === 'text-generation') return textGeneration(session, manifest, json)
  const pipeline = TextPipeline.load(manifest.pipeline as unknown as PipelineConfig, json)
  return textRunner(session, pipeline, manifest.labels.length, options.tokenBudget)
}

interface TextRow {
  request: number
  index: number
  ids: Int32Array
}

function textRunner(
  session: ort.InferenceSession,
  pipeline: TextPipeline,
  classes: number,
  tokenBudget: number,
): Runner {
  let batches = 0
  async function* run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer> {
    const started = monotonic()
    const texts = requests.flatMap((request) => (request.kind === 'texts' ? request.texts : []))
    const encoded = await pipeline.encode(texts)
    const ready = monotonic()
    let at = 0
    const rows: TextRow[] = []
    const open = requests.map((request, r) => {
      const count = request.kind === 'texts' ? request.texts.length : 0
      for (let i = 0; i < count; i++) rows.push({ request: r, index: i, ids: encoded[at++] })
      return { probabilities: new Float32Array(count * classes), left: count, run: 0, batch: 0 }
    })
    rows.sort((a, b) => a.ids.length - b.ids.length) // alike lengths share a batch, so little is padding
    for (const batch of cut(rows, tokenBudget)) {
      const began = monotonic()
      let values: Float32Array
      try {
        values = await runBatch(session, batch)
      } catch (error) {
        for (const r of new Set(batch.map(({ request }) => request))) {
          if (open[r].left > 0) yield failure(requests[r].id, error)
          open[r].left = -1
        }
        continue
      }
      batches++
      const took = monotonic() - began
      for (const [row, { request, index }] of batch.entries()) {
        const target = open[request]
        target.probabilities.set(values.subarray(row * classes, (row + 1) * classes), index * classes)
        target.left--
        target.run += took / batch.length
        target.batch = Math.max(target.batch, batch.length)
        if (target.left !== 0) continue
        const timings = {
          queue: started - requests[request].at,
          pre: ready - started,
          run: took,
          post: monotonic() - began - took,
          batch: target.batch,
        }
        yield { id: requests[request].id, output: { kind: 'texts', probabilities: target.probabilities }, timings }
      }
    }
  }
  return {
    get batches() {
      return batches
    },
    run,
  }
}

/** Batches of rows sorted by length, each within the budget of padded tokens. */
function* cut(rows: readonly TextRow[], tokenBudget: number): Generator<TextRow[]> {
  let batch: TextRow[] = []
  for (const row of rows) {
    if (batch.length > 0 && (batch.length >= ROW_LIMIT || (batch.length + 1) * row.ids.length > tokenBudget)) {
      yield batch
      batch = []
    }
    batch.push(row)
  }
  if (batch.length > 0) yield batch
}

async function runBatch(session: ort.InferenceSession, batch: readonly TextRow[]): Promise<Float32Array> {
  const time = batch.at(-1)!.ids.length
  const ids = new BigInt64Array(batch.length * time)
  batch.forEach((row, r) => {
    for (let t = 0; t < row.ids.length; t++) ids[r * time + t] = BigInt(row.ids[t])
  })
  const lengths = BigInt64Array.from(batch, (row) => BigInt(row.ids.length))
  const feeds = {
    ids: new ort.Tensor('int64', ids, [batch.length, time]),
    lengths: new ort.Tensor('int64', lengths, [batch.length]),
  }
  const { probabilities } = await session.run(feeds, ['probabilities'])
  return probabilities.data as Float32Array
}

/** Plain graphs are run request by request: nothing says that their rows are independent. */
function tensorRunner(session: ort.InferenceSession): Runner {
  let batches = 0
  async function* run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer> {
    for (const request of requests) {
      if (request.kind !== 'tensors') continue
      const started = monotonic()
      try {
        const feeds = Object.fromEntries(Object.entries(request.inputs).map(([name, tensor]) => [name, toOrt(tensor)]))
        const ready = monotonic()
        const results = await session.run(feeds)
        const done = monotonic()
        batches++
        const outputs = Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, fromOrt(tensor)]))
        const timings = {
          queue: started - request.at,
          pre: ready - started,
          run: done - ready,
          post: monotonic() - done,
          batch: 1,
        }
        yield { id: request.id, output: { kind: 'tensors', outputs }, timings }
      } catch (error) {
        yield failure(request.id, error)
      }
    }
  }
  return {
    get batches() {
      return batches
    },
    run,
  }
}

const toOrt = ({ dtype, dims, data }: Tensor) => new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
const fromOrt = ({ type, dims, data }: ort.Tensor): Tensor => ({
  dtype: type as DataType,
  dims: [...dims],
  data: data as TypedArray | string[],
})

/** The graph refused its input (a shape that does not fit inside, say): the caller's error, told in our words. */
function failure(id: number, error: unknown): EngineAnswer {
  const known =
    error instanceof AthanorError
      ? error
      : fail('TENSOR_INVALID', { message: `the model cannot run on this input: ${reasonOf(error)}`, model: '' })
  const { code, details } = asAthanorError(known)
  return { id, error: { code, details } }
}

/** The first line of the engine's message, without file names. */
const reasonOf = (error: unknown) =>
  String((error as Error)?.message ?? error)
    .split('\n')[0]
    .replace(/\/\S+/g, '')
    .slice(0, 200)
