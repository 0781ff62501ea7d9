import ort from '../base/onnxruntime.ts'

/**
 * A graph opened to be measured. Batches of many lengths come by, and a plan of memory for each, which onnxruntime makes
 * else, would be kept beside what the first runs took.
 */
export const openMeasured = (model: Uint8Array, threads: number) =>
  ort.InferenceSession.create(model, { intraOpNumThreads: threads, enableMemPattern: false, logSeverityLevel: 3 })
