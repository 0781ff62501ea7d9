import type { Metrics } from '../bundle/manifest.ts'

type Vectors = readonly Float32Array[]

/** Matches among which an anchor's own is looked for. */
const POOL = 2000

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, left, right] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i]
    left += a[i] * a[i]
    right += b[i] * b[i]
  }
  return product / Math.max(Math.sqrt(left * right), 1e-12)
}

/**
 * How often the match nearest to an anchor by cosine is its own, among up to 2,000 of the split, and the mean reciprocal of
 * its rank.
 */
export function retrieval(anchors: Vectors, matches: Vectors): Metrics {
  let [first, reciprocal] = [0, 0]
  anchors.forEach((anchor, row) => {
    const from = Math.floor(row / POOL) * POOL
    const own = cosine(anchor, matches[row])
    let rank = 1
    for (let other = from; other < Math.min(from + POOL, matches.length); other++)
      if (other !== row && cosine(anchor, matches[other]) > own) rank++
    if (rank === 1) first++
    reciprocal += 1 / rank
  })
  return { retrievalAccuracy: first / anchors.length, meanReciprocalRank: reciprocal / anchors.length }
}

/** Correlation of the ranks of cosines and scores (Spearman 1904; ties share the mean of their ranks). */
export function spearman(anchors: Vectors, matches: Vectors, scores: readonly number[]): Metrics {
  const cosines = anchors.map((anchor, row) => cosine(anchor, matches[row]))
  return { spearman: correlation(ranks(cosines), ranks(scores)) }
}

function ranks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b])
  const result = new Array<number>(values.length)
  for (let from = 0; from < order.length; ) {
    let to = from
    while (to + 1 < order.length && values[order[to + 1]] === values[order[from]]) to++
    for (let i = from; i <= to; i++) result[order[i]] = (from + to) / 2
    from = to + 1
  }
  return result
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [ma, mb] = [mean(a), mean(b)]
  let [both, left, right] = [0, 0, 0]
  a.forEach((value, i) => {
    both += (value - ma) * (b[i] - mb)
    left += (value - ma) ** 2
    right += (b[i] - mb) ** 2
  })
  return left > 0 && right > 0 ? both / Math.sqrt(left * right) : 0
}
