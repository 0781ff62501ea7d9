import { fail } from '../base/errors.ts'
import { askRef, type Prediction, type TextCallOptions } from '../serve/deployments.ts'
import { type Caller, findModel } from './ask.ts'
import { counted } from './counted.ts'

/** Texts as a model of vectors takes them: as they are, or as token ids of its own. */
type Texts = readonly string[] | readonly number[][]
const areIds = (texts: Texts): texts is readonly number[][] => typeof texts[0] === 'object'

/** The model's own answer to texts, whatever its task; throws what `findModel` and `Deployments.predict` throw. */
export async function askTexts(
  { house, door, requestId, ...options }: Caller & TextCallOptions,
  ref: string,
  texts: Texts,
  tasks: readonly string[],
): Promise<Prediction> {
  const version = await findModel(house, ref)
  const { name, manifest } = version
  if (!tasks.includes(manifest.task))
    throw fail('BAD_REQUEST', {
      message: `model "${name}" is for ${manifest.task}; this needs one for ${tasks.join(' or ')}`,
      param: 'model',
    })
  const asked = askRef(version)
  const { deployments } = house
  return counted(house, door, asked, requestId, () =>
    areIds(texts) ? deployments.embedIds(asked, texts, options) : deployments.predict(asked, texts, options),
  )
}

/** A vector for each text, and how many tokens they have; with `dimensions` its first numbers, again of length one. Throws BAD_REQUEST for more than there are. */
export async function embed(
  caller: Caller,
  ref: string,
  texts: Texts,
  dimensions?: number | null,
): Promise<{ vectors: Float32Array[]; tokens: number }> {
  const { output } = await askTexts(caller, ref, texts, ['feature-extraction'])
  if (output.kind !== 'vectors') throw new TypeError(`an encoder answered ${output.kind}`)
  const { vectors, width, tokens = 0 } = output
  if (typeof dimensions === 'number' && dimensions > width) {
    const message = `dimensions: the model has ${width}, got ${dimensions}`
    throw fail('BAD_REQUEST', { message, param: 'dimensions' })
  }
  const whole = Array.from({ length: texts.length }, (_, row) => vectors.subarray(row * width, (row + 1) * width))
  if (typeof dimensions !== 'number' || dimensions === width) return { vectors: whole, tokens }
  return { vectors: whole.map((vector) => unit(vector.slice(0, dimensions))), tokens }
}

/** Divides a vector, in place, by its length. */
export function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector)
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i] /= length
  return vector
}

/** Cosine of the angle between two vectors; 0 where one is nothing. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i]
    aa += a[i] * a[i]
    bb += b[i] * b[i]
  }
  return aa === 0 || bb === 0 ? 0 : dot / Math.sqrt(aa * bb)
}

/** How like each document is to a query, by their vectors, in the order given. */
export async function likeness(caller: Caller, ref: string, query: string, documents: readonly string[]) {
  const { vectors, tokens } = await embed(caller, ref, [query, ...documents])
  return { tokens, scores: vectors.slice(1).map((vector) => cosine(vectors[0], vector)) }
}

/** How well each pair goes together: by the model itself where it scores pairs, else the cosine of their vectors. */
export async function relevance(
  caller: Caller,
  ref: string,
  pairs: readonly (readonly [string, string])[],
  raw = false,
): Promise<{ tokens: number; scores: number[] }> {
  const [left, right] = [0, 1].map((side) => pairs.map((pair) => pair[side]))
  const { manifest } = await findModel(caller.house, ref)
  if (manifest.pipeline?.pairs === true) {
    const options = { ...caller, pairs: right, raw }
    const { output, timings } = await askTexts(options, ref, left, ['text-classification'])
    if (output.kind !== 'texts') throw new TypeError(`a classifier answered ${output.kind}`)
    return { tokens: timings.tokens ?? 0, scores: Array.from(output.probabilities) }
  }
  if (raw) throw fail('BAD_REQUEST', { message: 'raw_scores: only models that score pairs have them' })
  const firsts = left.every((text) => text === left[0]) ? left.slice(0, 1) : left
  const { vectors, tokens } = await embed(caller, ref, [...firsts, ...right])
  const scores = right.map((_, i) => cosine(vectors[firsts.length === 1 ? 0 : i], vectors[firsts.length + i]))
  return { tokens, scores }
}

/** Places of scores, the best first. */
export const ranking = (scores: readonly number[]) =>
  scores.map((score, index) => ({ index, score })).sort((a, b) => b.score - a.score || a.index - b.index)
