import { asAthanorError } from '../base/errors.ts'
import type { Prediction } from '../serve/deployments.ts'
import { nativeOutputs } from './answers.ts'
import type { House } from './route.ts'

/** Runs `call`, telling of its answer or failure under a door's name. */
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
    const about = { requestId, door, model, version, task: manifest.task }
    const content = () => ({
      ...(texts && { input: texts.join('\n') }),
      output: JSON.stringify(nativeOutputs(prediction, 3)),
    })
    const at = Date.now()
    // after the answers of this turn are on their way, one after the other
    setImmediate(() => {
      house.observe({ ...about, rows: rowsOf(prediction), ms: total, at, timings, content })
      if (texts && output.kind === 'texts')
        house.feedback.answered(requestId, { model, version, labels: manifest.labels }, output.probabilities, texts)
    })
    return { ...prediction, total }
  } catch (thrown) {
    const error = asAthanorError(thrown)
    const known = await house.deployments.resolve(ref).catch(() => undefined)
    const ms = performance.now() - started
    const which = known && { model: known.name, version: known.version }
    const about = { requestId, door, ...which, ...(known && { task: known.manifest.task }) }
    house.observe({ ...about, rows: 0, ms, at: Date.now(), code: error.code })
    house.log.error('request.failed', error, { requestId, ms, ...which })
    throw error
  }
}

/** Texts or images that an answer is about; a set of tensors is one. */
function rowsOf({ texts, output, manifest }: Prediction): number {
  if (texts) return texts.length
  return output.kind === 'images' ? output.probabilities.length / manifest.labels.length : 1
}
