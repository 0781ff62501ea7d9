/** Shares of counts; all zero where nothing was counted. */
function shares(counts: readonly number[]): number[] {
  const total = counts.reduce((a, b) => a + b, 0)
  return counts.map((n) => n / Math.max(1, total))
}

/** Jensen-Shannon divergence of two distributions given as counts, in bits: 0 for equal ones, 1 for disjoint ones (Lin 1991). */
export function jensenShannon(a: readonly number[], b: readonly number[]): number {
  const [p, q] = [shares(a), shares(b)]
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    const middle = (p[i] + q[i]) / 2
    if (p[i] > 0) sum += (p[i] * Math.log2(p[i] / middle)) / 2
    if (q[i] > 0) sum += (q[i] * Math.log2(q[i] / middle)) / 2
  }
  return sum
}

/** Population stability index; empty bins count as half a row, so that it stays finite. */
export function populationStability(a: readonly number[], b: readonly number[]): number {
  const used = a.map((n, i) => n + b[i] > 0)
  const smooth = (counts: readonly number[]) => shares(counts.flatMap((n, i) => (used[i] ? [n || 0.5] : [])))
  const [p, q] = [smooth(a), smooth(b)]
  return p.reduce((sum, share, i) => sum + (q[i] - share) * Math.log(q[i] / share), 0)
}

/** Kolmogorov-Smirnov distance of two distributions over ordered bins: the largest difference of the cumulative shares. */
export function kolmogorovSmirnov(a: readonly number[], b: readonly number[]): number {
  const [p, q] = [shares(a), shares(b)]
  let [difference, largest] = [0, 0]
  for (let i = 0; i < p.length; i++) {
    difference += p[i] - q[i]
    largest = Math.max(largest, Math.abs(difference))
  }
  return largest
}
