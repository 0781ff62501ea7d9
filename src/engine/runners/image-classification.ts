import { asAthanorError } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import { type ImagePipelineConfig, standardise, toPixels } from '../../data/images/pixels.ts'
import { imageMeasures } from '../../drift/measures.ts'
import { Sketch } from '../../drift/sketch.ts'
import { type EngineAnswer, type EngineRequest, monotonic } from '../messages.ts'
import type { OpenRunner } from '../runner.ts'
import { failure, openGraph } from '../session.ts'

/** Most numbers of pixels in one run: 32 images of 224 × 224 in colour. */
const PIXEL_BUDGET = 32 * 3 * 224 * 224

interface Image {
  request: number
  index: number
  pixels: Uint8Array
}

/** Graphs of `pixels` that give `probabilities`. Images are decoded here, beside the model, not in the control process. */
export const imageClassificationRunner: OpenRunner = async (manifest, read, options) => {
  const { onWindow } = options
  const session = await openGraph(read, options)
  const config = manifest.pipeline as unknown as ImagePipelineConfig
  const { channels, height, width } = config
  const [size, classes] = [channels * height * width, manifest.labels.length]
  const atOnce = Math.max(1, Math.floor(PIXEL_BUDGET / size))
  const input = manifest.signature.inputs[0].name
  const sketch = onWindow && manifest.reference && Sketch.ofMeasures(manifest.reference)
  let batches = 0

  async function infer(batch: readonly Image[]): Promise<Float32Array> {
    const data = new Float32Array(batch.length * size)
    batch.forEach(({ pixels }, i) => {
      standardise(pixels, config, data, i * size)
    })
    const feeds = { [input]: new ort.Tensor('float32', data, [batch.length, channels, height, width]) }
    const { probabilities } = await session.run(feeds, ['probabilities'])
    batches++
    return probabilities.data as Float32Array
  }

  async function* run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer> {
    const started = monotonic()
    const decoded = await Promise.allSettled(
      requests.map(async (request) => {
        if (request.kind !== 'images') return []
        return Promise.all(request.images.map((bytes, i) => toPixels(bytes, config, `image ${i + 1}`)))
      }),
    )
    const images: Image[] = []
    const answers = decoded.map((result, request) => {
      if (result.status === 'rejected') return undefined
      result.value.forEach((pixels, index) => {
        images.push({ request, index, pixels })
      })
      return new Float32Array(result.value.length * classes)
    })
    for (const [i, result] of decoded.entries()) {
      if (result.status === 'fulfilled') continue
      const { code, details } = asAthanorError(result.reason)
      yield { id: requests[i].id, error: { code, details } }
    }
    const ready = monotonic()
    const taken = requests.map(() => ({ left: 0, run: 0, batch: 0 }))
    for (const { request } of images) taken[request].left++
    for (let start = 0; start < images.length; start += atOnce) {
      const batch = images.slice(start, start + atOnce).filter(({ request }) => !requests[request].withdrawn)
      if (batch.length === 0) continue
      const began = monotonic()
      const concerned = new Set(batch.map(({ request }) => request))
      let values: Float32Array
      try {
        values = await infer(batch)
      } catch (error) {
        for (const request of concerned) {
          if (taken[request].left > 0) yield failure(requests[request].id, error)
          taken[request].left = -1
        }
        continue
      }
      const took = monotonic() - began
      for (const [row, { request, index, pixels }] of batch.entries()) {
        const state = taken[request]
        const probabilities = values.subarray(row * classes, (row + 1) * classes)
        if (sketch && !requests[request].canary) {
          const window = sketch.add({ measures: imageMeasures(pixels, channels), probabilities })
          if (window) onWindow(window)
        }
        answers[request]!.set(probabilities, index * classes)
        state.run += took / batch.length
        state.batch = Math.max(state.batch, batch.length)
        if (--state.left !== 0) continue
        const timings = {
          queue: started - requests[request].at,
          pre: ready - started,
          run: took,
          post: monotonic() - began - took,
          batch: state.batch,
        }
        yield { id: requests[request].id, output: { kind: 'images', probabilities: answers[request]! }, timings }
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
