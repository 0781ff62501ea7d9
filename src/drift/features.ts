import { mainScript, scriptNumber } from '../data/text.ts'

/**
 * What is counted of each classified text, as a distribution over bins. Tokens are counted each; of the others one bin
 * gets the row.
 */
export const features = {
  /** Tokens of the text, two bins a doubling. */
  length: { bins: 28, ordered: true, meaning: 'texts are longer or shorter' },
  script: { bins: 13, ordered: false, meaning: 'texts are in other scripts' },
  /** Share of tokens that the vocabulary lacks, in steps that grow. */
  unknown: { bins: 10, ordered: true, meaning: 'more or fewer unknown words' },
  /** Tokens by a hash of their id: other words, other topics. */
  tokens: { bins: 512, ordered: false, meaning: 'other words are used' },
  label: { bins: 256, ordered: false, meaning: 'labels come in other shares' },
  /** Probability of the label that was chosen, in twentieths. */
  confidence: { bins: 20, ordered: true, meaning: 'the model is more or less certain' },
} as const

export type Feature = keyof typeof features
const featureNames = Object.keys(features) as Feature[]

/** A classified text: token ids, its main script's number, and the class probabilities. */
export interface Observed {
  ids: ArrayLike<number>
  script: number
  probabilities: ArrayLike<number>
}

/** The id of an unknown token in every pipeline. */
const UNKNOWN = 1

/** The number of a text's main script, judged by its first letters: cheap enough for every request. */
export const scriptOf = (text: string) => scriptNumber(mainScript(text, 16))

/** Counts by feature and bin. */
type Counts = Record<Feature, number[]>

export const noCounts = (): Counts =>
  Object.fromEntries(featureNames.map((name) => [name, new Array<number>(features[name].bins).fill(0)])) as Counts

/** Adds a text to counts; returns the confidence of its label. */
export function count(counts: Counts, { ids, script, probabilities }: Observed): number {
  let unknown = 0
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === UNKNOWN) unknown++
    counts.tokens[(Math.imul(ids[i], 0x9e3779b1) >>> 16) % features.tokens.bins]++
  }
  let best = 0
  for (let i = 1; i < probabilities.length; i++) if (probabilities[i] > probabilities[best]) best = i
  const confidence = probabilities[best]
  const length = Math.floor(2 * Math.log2(ids.length + 1))
  const rate = unknown / Math.max(1, ids.length)
  const add = (feature: Feature, bin: number) => counts[feature][Math.min(features[feature].bins - 1, bin)]++
  add('length', length)
  add('script', script)
  add('unknown', rate === 0 ? 0 : Math.max(1, Math.floor(10 + Math.log2(rate))))
  add('label', best)
  add('confidence', Math.floor(confidence * features.confidence.bins))
  return confidence
}
