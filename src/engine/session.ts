import ort from 'onnxruntime-node'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import { neg } from '../graph/ops.ts'
import type { DataType, Tensor, TypedArray } from '../graph/tensor.ts'
import type { EngineAnswer } from './messages.ts'

/**
 * Opens a graph for serving after our own reader has checked it, before native code sees it. Throws MODEL_INVALID.
 */
export async function openSession(bytes: Uint8Array, threads: number): Promise<ort.InferenceSession> {
  readModel(bytes)
  try {
    return await ort.InferenceSession.create(bytes, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      // a waiting thread that spins takes the core that the control process needs
      extra: { session: { intra_op: { allow_spinning: '0' } } },
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
