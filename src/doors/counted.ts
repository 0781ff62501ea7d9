import { asAthanorError } from '../base/errors.ts'
import type { Prediction } from '../serve/deployments.ts'
import type { House } from './route.ts'

/** Runs `call`, counting its answer or failure under a door's name. */
export async function counted(
  house: House,
  door: string,
  ref: string,
  requestId: string,
  call: () => Promise<Prediction>,
): Promise<Prediction & { total: number }> {
  const started = performance.now()
  try {
    const prediction = await call()
    const total = performance.now() - started
    const { model, version, manifest, output, timings, texts } = prediction
    house.metrics.answered({ model, version, door }, timings, total)
    if (texts && output.kind === 'texts')
      house.feedback.answered(requestId, { model, version, labels: manifest.labels }, output.probabilities, texts)
    return { ...prediction, total }
  } catch (thrown) {
    const error = asAthanorError(thrown)
    const known = await house.deployments.resolve(ref).catch(() => undefined)
    house.metrics.failed({ door, ...(known && { model: known.name }) }, error.code)
    const context = {
      requestId,
      ms: performance.now() - started,
      ...(known && { model: known.name, version: known.version }),
    }
    house.log.error('request.failed', error, context)
    throw error
  }
}
