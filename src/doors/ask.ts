import type { FastifyReply, FastifyRequest } from 'fastify'
import { AthanorError, fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Version } from '../registry/registry.ts'
import { type Prediction, type Ranked, rank } from '../serve/deployments.ts'
import { counted } from './counted.ts'
import { abortWith, type House } from './route.ts'

/** Who asks, through which door; the signal fires when the client goes away. */
export interface Caller {
  house: House
  door: string
  requestId: string
  signal: AbortSignal
}

export const callerOf = (
  door: string,
  house: House,
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
): Caller => ({ house, door, requestId: request.id, signal: abortWith(reply) })

/**
 * The version that a protocol's name for a model means. A name that no model of ours could have is an unknown model here,
 * not a bad name: clients send names such as `meta-llama/Llama-3`. Throws MODEL_NOT_FOUND or VERSION_NOT_FOUND.
 */
export async function findModel({ deployments, registry }: House, ref: string): Promise<Version> {
  try {
    return await deployments.resolve(ref)
  } catch (error) {
    if (!(error instanceof AthanorError) || error.code !== 'NAME_INVALID') throw error
    const names = (await registry.list()).map(({ name }) => name)
    const suggestion = suggest(ref.replace(/^.*\//, '').toLowerCase(), names)
    throw fail('MODEL_NOT_FOUND', { name: ref.slice(0, 80) }, { ...(suggestion && { suggestion }) })
  }
}

/** As `findModel`, for a model of one of the tasks; throws TASK_UNFIT. */
export async function findModelFor(house: House, ref: string, ...tasks: Manifest['task'][]): Promise<Version> {
  const version = await findModel(house, ref)
  const { name, manifest } = version
  if (!tasks.includes(manifest.task))
    throw fail('TASK_UNFIT', { name, task: manifest.task, wanted: tasks.join(' or ') })
  return version
}

export interface Classified {
  prediction: Prediction
  /** For each text its labels, best first. */
  ranked: Ranked[][]
}

/** Labels of texts by a classifier; throws what `findModelFor` and `Deployments.predict` throw. */
export async function classify(
  { house, door, requestId, signal }: Caller,
  ref: string,
  texts: readonly string[],
  topK?: number,
): Promise<Classified> {
  const { name, version } = await findModelFor(house, ref, 'text-classification')
  const exact = `${name}@${version}`
  const prediction = await counted(house, door, exact, requestId, () =>
    house.deployments.predict(exact, texts, { signal }),
  )
  const { manifest, output } = prediction
  if (output.kind !== 'texts') throw new TypeError(`a classifier answered ${output.kind}`)
  return { prediction, ranked: texts.map((_, row) => rank(manifest.labels, output.probabilities, row, topK)) }
}
