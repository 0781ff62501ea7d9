import ort from 'onnxruntime-node'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { readModel } from '../graph/codec.ts'
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
