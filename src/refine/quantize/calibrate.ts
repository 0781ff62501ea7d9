import { percentileOf } from '../../graph/passes/clip.ts'

/** What a tensor's values are quantized to: from `low` to `high`. */
export interface Range {
  low: number
  high: number
}

export const calibrations = ['minmax', 'percentile', 'entropy'] as const
export type Calibration = (typeof calibrations)[number]

const BINS = 2048
/** Share of values within the range that `percentile` takes, at each end. */
const PERCENTILE = 99.99
/** Values of a tensor kept at most for the percentile. */
const KEPT = 200_000

/** Gathers the values that a tensor takes in calibration, and tells the range to quantize to. */
export class Observer {
  #low = Number.POSITIVE_INFINITY
  #high = Number.NEGATIVE_INFINITY
  #seen = 0
  readonly #kept: number[] = []

  add(values: Float32Array) {
    for (const value of values) {
      if (value < this.#low) this.#low = value
      if (value > this.#high) this.#high = value
    }
    // every n-th value: regular, so that a calibration gives the same range each time
    const step = Math.max(1, Math.ceil(values.length / 4096))
    for (let i = this.#seen % step; i < values.length && this.#kept.length < KEPT; i += step) this.#kept.push(values[i])
    this.#seen += values.length
  }

  range(how: Calibration): Range {
    const whole = { low: Math.min(0, this.#low), high: Math.max(0, this.#high) } // zero must be exact
    if (how === 'minmax' || this.#kept.length === 0) return whole
    const kept = Float32Array.from(this.#kept)
    if (how === 'percentile') {
      return {
        high: Math.max(0, percentileOf(kept, PERCENTILE)),
        low: Math.min(
          0,
          -percentileOf(
            kept.map((value) => -value),
            PERCENTILE,
          ),
        ),
      }
    }
    const share = entropyShare(kept, Math.max(-whole.low, whole.high))
    return { low: Math.max(whole.low, -share), high: Math.min(whole.high, share) }
  }
}

/**
 * The bound for magnitudes at which the clipped and quantized distribution differs least from the real one by
 * Kullback–Leibler divergence, over a histogram of magnitudes (Migacz 2017).
 */
function entropyShare(values: Float32Array, largest: number): number {
  if (largest === 0) return 0
  const histogram = new Float64Array(BINS)
  for (const value of values) histogram[Math.min(BINS - 1, Math.floor((Math.abs(value) / largest) * BINS))]++
  const LEVELS = 128
  let [best, least] = [BINS, Number.POSITIVE_INFINITY]
  for (let bins = LEVELS; bins <= BINS; bins += 16) {
    const inside = histogram.slice(0, bins)
    const reference = Float64Array.from(inside)
    for (let i = bins; i < BINS; i++) reference[bins - 1] += histogram[i]
    const quantized = new Float64Array(bins)
    for (let level = 0; level < LEVELS; level++) {
      const [start, end] = [Math.floor((level * bins) / LEVELS), Math.floor(((level + 1) * bins) / LEVELS)]
      let [sum, filled] = [0, 0]
      for (let i = start; i < end; i++) {
        sum += inside[i]
        if (reference[i] > 0) filled++
      }
      for (let i = start; i < end; i++) if (reference[i] > 0) quantized[i] = sum / filled
    }
    const divergence = kullbackLeibler(reference, quantized)
    if (divergence < least) [best, least] = [bins, divergence]
  }
  return (best / BINS) * largest
}

/** Σ p log(p / q) of two histograms made into distributions; empty bins of q count as very small. */
function kullbackLeibler(p: Float64Array, q: Float64Array): number {
  const [allP, allQ] = [p, q].map((all) => all.reduce((a, b) => a + b, 0))
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    if (p[i] > 0) sum += (p[i] / allP) * Math.log(p[i] / allP / Math.max(q[i] / allQ, 1e-9))
  }
  return sum
}
