import ort from '../base/onnxruntime.ts'

const RUNS = 15

/** Milliseconds that a text model takes for one text of `length` tokens on one thread; the median of some runs. */
export async function latencyOf(model: Uint8Array, length: number): Promise<number> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  try {
    const feeds = {
      ids: new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
      lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(length)), [1]),
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
