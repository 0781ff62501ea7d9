import { fail } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'

/** How a session is opened: by how many threads a run is made, and in which folder the weights lie that are mapped. */
export interface SessionOptions {
  threads: number
  folder?: string
}

/** A session of onnxruntime. Throws MODEL_INVALID. */
export async function createSession(bytes: Uint8Array, { threads, folder }: SessionOptions) {
  try {
    return await ort.InferenceSession.create(bytes, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      extra: {
        session: {
          // a waiting thread that spins takes the core that the control process needs
          intra_op: { allow_spinning: '0' },
          ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
        },
      },
    })
  } catch (error) {
    throw fail('MODEL_INVALID', { reason: 'the engine cannot load it' }, { cause: error })
  }
}
