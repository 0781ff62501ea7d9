/** Numbers counted by bounds, with their sum: what Prometheus and OpenTelemetry call a histogram. */
export class Buckets {
  readonly bounds: readonly number[]
  /** How many fell at or below each bound but above the one before; the last counts those above all bounds. */
  readonly counts: Float64Array
  sum = 0
  count = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  add(value: number) {
    let at = 0
    while (at < this.bounds.length && value > this.bounds[at]) at++
    this.counts[at]++
    this.sum += value
    this.count++
  }

  /** Adds what another with the same bounds has counted. */
  merge(other: Buckets) {
    for (let i = 0; i < this.counts.length; i++) this.counts[i] += other.counts[i]
    this.sum += other.sum
    this.count += other.count
  }
}

export const merged = (all: readonly Buckets[]): Buckets => {
  const total = new Buckets(all[0].bounds)
  for (const one of all) total.merge(one)
  return total
}
