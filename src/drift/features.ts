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

const binOf = (feature: Feature, bin: number) => Math.min(features[feature].bins - 1, bin)
const lengthBin = (ids: ArrayLike<number>) => binOf('length', Math.floor(2 * Math.log2(ids.length + 1)))
const tokenBin = (id: number) => (Math.imul(id, 0x9e3779b1) >>> 16) % features.tokens.bins
const confidenceBin = (score: number) => binOf('confidence', Math.floor(score * features.confidence.bins))

/** Adds a text to counts; returns the confidence of its label. */
export function count(counts: Counts, { ids, script, probabilities }: Observed): number {
  let unknown = 0
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === UNKNOWN) unknown++
    counts.tokens[tokenBin(ids[i])]++
  }
  let best = 0
  for (let i = 1; i < probabilities.length; i++) if (probabilities[i] > probabilities[best]) best = i
  const confidence = probabilities[best]
  const rate = unknown / Math.max(1, ids.length)
  counts.length[lengthBin(ids)]++
  counts.script[binOf('script', script)]++
  counts.unknown[binOf('unknown', rate === 0 ? 0 : Math.max(1, Math.floor(10 + Math.log2(rate))))]++
  counts.label[binOf('label', best)]++
  counts.confidence[confidenceBin(confidence)]++
  return confidence
}

/**
 * A text that is read but not classified as a whole: token ids without those that every text has, its main script where it
 * is known, and the labels that were found in it, by number from 1, where that is what the model does.
 */
export interface Read {
  ids: ArrayLike<number>
  script?: number
  found?: readonly { label: number; score: number }[]
}

/** What is counted of such a text. */
export const featuresOf = ({ script, found }: Read): Feature[] => [
  'length',
  'tokens',
  ...(script === undefined ? [] : (['script'] as const)),
  ...(found ? (['label', 'confidence'] as const) : []),
]

/** Adds such a text to counts of its features; each label that was found is counted, and a text without any as number 0. */
export function countRead(counts: Partial<Counts>, { ids, script, found }: Read) {
  for (let i = 0; i < ids.length; i++) counts.tokens![tokenBin(ids[i])]++
  counts.length![lengthBin(ids)]++
  if (script !== undefined) counts.script![binOf('script', script)]++
  if (found?.length === 0) counts.label![0]++
  for (const { label, score } of found ?? []) {
    counts.label![binOf('label', label)]++
    counts.confidence![confidenceBin(score)]++
  }
}
