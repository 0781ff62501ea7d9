import type { Manifest } from '../bundle/manifest.ts'

export interface Ranked {
  label: string
  score: number
}

/**
 * The labels of one row of probabilities, best first, at most `topK`; where a text may have several, each with whether its
 * score reaches the label's threshold. Of a model of numbers, the number under its name.
 */
export function rank(
  { labels, thresholds }: Pick<Manifest, 'labels' | 'thresholds'>,
  probabilities: Float32Array,
  row: number,
  topK = labels.length,
): Ranked[] {
  const scores = probabilities.subarray(row * labels.length, (row + 1) * labels.length)
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b)
  return order.slice(0, topK).map((i) => ({
    label: labels[i],
    score: scores[i],
    ...(thresholds && { chosen: scores[i] >= thresholds[i] }),
  }))
}
