/** The q-th quantile of some numbers (0.5 is the median), by the nearest rank. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
}
export const median = (values: readonly number[]) => quantile(values, 0.5)
