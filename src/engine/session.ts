import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
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
import { createSession } from './create-session.ts'
import type { EngineAnswer } from './messages.ts'
import { threadsFor } from './threads.ts'

const MODEL = 'model.onnx'

/**
 * Opens a graph for serving after our own reader has checked it, before native code sees it. Throws MODEL_INVALID.
 */
export async function openSession(bytes: Uint8Array, threads: number): Promise<ort.InferenceSession> {
  readModel(bytes)
  return createSession(bytes, { threads })
}

/** A checked graph, and the folder in which its weights lie if they are to be mapped. */
export interface Mapped {
  graph: Uint8Array
  folder?: string
}

/** What is known of a graph: its operators, and how many threads suit it. */
interface Known {
  operators: ReadonlySet<string>
  threads: number
}

/**
 * Reads and checks a bundle's graph. Where its file is known, weights stay in it: all who serve it map the same pages, but
 * for what the library rearranges for its products. Throws MODEL_INVALID.
 */
export function readGraph(
  read: (file: string) => Uint8Array,
  paths?: Readonly<Record<string, string>>,
): Mapped & Known {
  const path = paths?.[MODEL]
  if (path === undefined) {
    const graph = read(MODEL)
    return { graph, ...knownOf(readModel(graph)) }
  }
  const bytes = readFileSync(path)
  const model = readModel(bytes)
  const known = knownOf(model)
  const graph = withoutWeights(model, bytes, basename(path))
  // given back now: it is as large as all weights, and when garbage is collected is chance
  if (bytes.byteLength === bytes.buffer.byteLength) bytes.buffer.transfer(0)
  return { graph, folder: dirname(path), ...known }
}

function knownOf({ graph }: ModelProto): Known {
  const nodes = graph?.node ?? []
  const tables = new Set(nodes.filter(({ opType }) => opType === 'Gather').map(({ input: [table] }) => table))
  let weights = 0
  for (const { name, dims } of graph?.initializer ?? [])
    if (!tables.has(name)) weights += dims.reduce((size, dim) => size * Number(dim), 1)
  return { operators: new Set(nodes.map(({ opType }) => opType)), threads: threadsFor(weights) }
}

/** As `openSession` for a bundle's graph, whose weights are mapped where its file is known. */
export async function openGraph(
  read: (file: string) => Uint8Array,
  { threads, paths }: { threads?: number; paths?: Readonly<Record<string, string>> },
): Promise<ort.InferenceSession> {
  const { graph, folder, threads: suiting } = readGraph(read, paths)
  return createSession(graph, { threads: threads ?? suiting, ...(folder !== undefined && { folder }) })
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
