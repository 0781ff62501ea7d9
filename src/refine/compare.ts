import type ort from 'onnxruntime-node'
import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { type Feeds, ortFeeds } from './inputs.ts'

/** What a graph says of some batches: the numbers of its telling output, and the highest of each row. */
export interface Said {
  readonly values: readonly Float32Array[]
  readonly best: readonly number[]
}

/** How far one graph's answers are from another's. */
export interface Difference {
  /** √(Σ difference² / Σ value²). */
  readonly error: number
  /** Share of rows with the same highest number. */
  readonly agreement: number
}

/** Runs a graph; where it has logits these tell more than probabilities, otherwise its first output of floats tells. */
export async function runOn(model: ModelProto, feeds: readonly Feeds[], threads: number): Promise<Said> {
  const session = await openSession(writeModel(model), threads)
  try {
    const values: Float32Array[] = []
    const best: number[] = []
    for (const batch of feeds) {
      const output = telling(await session.run(ortFeeds(batch)), session.outputNames)
      const data = output.data as Float32Array
      values.push(data)
      const width = output.dims.at(-1) ?? 1
      for (let at = 0; at < data.length; at += width) {
        const row = data.subarray(at, at + width)
        best.push(row.indexOf(Math.max(...row)))
      }
    }
    return { values, best }
  } finally {
    await session.release()
  }
}

function telling(outputs: ort.InferenceSession.OnnxValueMapType, names: readonly string[]): ort.Tensor {
  const floats = names.filter((name) => outputs[name].type === 'float32')
  return outputs[floats.includes('logits') ? 'logits' : (floats[0] ?? names[0])] as ort.Tensor
}

export function difference(reference: Said, other: Said): Difference {
  let [wrong, size] = [0, 0]
  reference.values.forEach((batch, b) => {
    for (let i = 0; i < batch.length; i++) {
      wrong += (batch[i] - other.values[b][i]) ** 2
      size += batch[i] ** 2
    }
  })
  const same = reference.best.filter((best, row) => best === other.best[row]).length
  return { error: Math.sqrt(wrong / Math.max(size, 1e-30)), agreement: same / Math.max(1, reference.best.length) }
}
