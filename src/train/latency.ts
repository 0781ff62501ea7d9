import ort from 'onnxruntime-node'
import type { Weights } from './checkpoint.ts'
import type { Learner } from './learner.ts'

const RUNS = 15

/** Milliseconds that weights take for one text of usual length on one thread; the median of some runs. */
export async function latencyOf(learner: Learner, weights: Weights | undefined): Promise<number | undefined> {
  if (!weights) return undefined
  const { files, manifest } = await learner.bundle(weights)
  const names = manifest.signature.inputs.map(({ name }) => name)
  if (names.join() !== 'ids,lengths') return undefined // what a usual input is, only texts are known to say
  const { p50 = 32 } = (manifest.profile?.lengths ?? {}) as { p50?: number }
  const session = await ort.InferenceSession.create(files['model.onnx'] as Uint8Array, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  try {
    const feeds = {
      ids: new ort.Tensor('int64', new BigInt64Array(p50).fill(1n), [1, p50]),
      lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(p50)), [1]),
    }
    const times: number[] = []
    for (let i = 0; i < RUNS; i++) {
      const started = performance.now()
      await session.run(feeds)
      times.push(performance.now() - started)
    }
    return Number(times.sort((a, b) => a - b)[Math.floor(RUNS / 2)].toPrecision(3))
  } finally {
    await session.release()
  }
}
