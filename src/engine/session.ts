import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { create } from '@bufbuild/protobuf'
import ort from 'onnxruntime-node'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { ALIGNMENT, LARGE } from '../graph/aligned.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import {
  TensorProto_DataLocation as Location,
  type ModelProto,
  StringStringEntryProtoSchema,
} from '../graph/gen/onnx_pb.js'
import { neg } from '../graph/ops.ts'
import type { DataType, Tensor, TypedArray } from '../graph/tensor.ts'
import type { EngineAnswer } from './messages.ts'

const MODEL = 'model.onnx'

/**
 * Opens a graph for serving after our own reader has checked it, before native code sees it. Throws MODEL_INVALID.
 */
export async function openSession(bytes: Uint8Array, threads: number): Promise<ort.InferenceSession> {
  readModel(bytes)
  return createSession(bytes, threads)
}

/**
 * As `openSession` for a bundle's graph. Where its file is known, weights stay in it: all processes that serve it map the
 * same pages, but for what the library rearranges for its products.
 */
export async function openGraph(
  read: (file: string) => Uint8Array,
  { threads, paths }: { threads: number; paths?: Readonly<Record<string, string>> },
): Promise<ort.InferenceSession> {
  const path = paths?.[MODEL]
  if (path === undefined) return openSession(read(MODEL), threads)
  const bytes = readFileSync(path)
  const graph = withoutWeights(readModel(bytes), bytes, basename(path))
  // given back now: it is as large as all weights, and when garbage is collected is chance
  if (bytes.byteLength === bytes.buffer.byteLength) bytes.buffer.transfer(0)
  return createSession(graph, threads, { model_external_initializers_file_folder_path: dirname(path) })
}

/** The model as bytes without the large aligned tensors, which are said to be where they lie in its file (ONNX: external data). */
function withoutWeights(model: ModelProto, bytes: Uint8Array, file: string): Uint8Array {
  for (const tensor of model.graph?.initializer ?? []) {
    const offset = tensor.rawData.byteOffset - bytes.byteOffset
    const length = tensor.rawData.byteLength
    if (length < LARGE || offset % ALIGNMENT !== 0) continue
    const place = Object.entries({ location: file, offset: String(offset), length: String(length) })
    tensor.externalData = place.map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }))
    tensor.dataLocation = Location.EXTERNAL
    tensor.rawData = new Uint8Array()
  }
  return writeModel(model)
}

async function createSession(bytes: Uint8Array, threads: number, more: Record<string, string> = {}) {
  try {
    return await ort.InferenceSession.create(bytes, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      // a waiting thread that spins takes the core that the control process needs
      extra: { session: { intra_op: { allow_spinning: '0' }, ...more } },
    })
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'the engine cannot load it' }, { cause: error })
  }
}

/** Runs a graph of one operator, so that the library has started when a version comes. */
export async function warmUp(): Promise<void> {
  const graph = new GraphBuilder()
  const x = graph.input('x', 'float32', [1])
  graph.output(neg(x), 'y')
  const session = await openSession(writeModel(graph.build()), 1)
  await session.run({ x: new ort.Tensor('float32', new Float32Array(1), [1]) })
  await session.release()
}

export const toOrt = ({ dtype, dims, data }: Tensor) => new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
export const fromOrt = ({ type, dims, data }: ort.Tensor): Tensor => ({
  dtype: type as DataType,
  dims: [...dims],
  data: data as TypedArray | string[],
})

/** The graph refused its input (a shape that does not fit inside, say): the caller's error, told in our words. */
export function failure(id: number, error: unknown): EngineAnswer {
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
