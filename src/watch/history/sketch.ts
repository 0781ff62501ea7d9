/** Quantiles are right to this share of their value. */
const ACCURACY = 0.02
const GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
const SCALE = 1 / Math.log(GAMMA)
/** Numbers outside are counted at the nearest of these, which bounds a sketch to 634 bins. */
const [LEAST, MOST] = [1e-6, 1e5]

/**
 * Quantiles of positive numbers in little room: DDSketch (Masson, Rim and Lee 2019, https://arxiv.org/abs/1908.10693).
 * Sketches of parts merge into that of the whole without loss.
 */
export class Sketch {
  readonly #bins = new Map<number, number>()
  count = 0

  add(value: number, times = 1) {
    this.#add(Math.ceil(Math.log(Math.min(MOST, Math.max(LEAST, value))) * SCALE), times)
  }

  merge(other: Sketch) {
    for (const [bin, count] of other.#bins) this.#add(bin, count)
  }

  /** The value below which a share of the numbers lies; undefined of none. */
  quantile(share: number): number | undefined {
    if (this.count === 0) return undefined
    const rank = share * (this.count - 1)
    let below = 0
    let last = 0
    for (const bin of this.#sorted()) {
      below += this.#bins.get(bin)!
      last = bin
      if (below > rank) break
    }
    return (2 * GAMMA ** last) / (GAMMA + 1)
  }

  /** How many numbers lie above a value, as near as bins tell. */
  above(value: number): number {
    const limit = Math.ceil(Math.log(Math.min(MOST, Math.max(LEAST, value))) * SCALE)
    let sum = 0
    for (const [bin, count] of this.#bins) if (bin > limit) sum += count
    return sum
  }

  /** `bin:count`, separated by spaces. */
  toString(): string {
    return this.#sorted()
      .map((bin) => `${bin}:${this.#bins.get(bin)}`)
      .join(' ')
  }

  static parse(text: string): Sketch {
    const sketch = new Sketch()
    for (const part of text.split(' ')) {
      const [bin, count] = part.split(':').map(Number)
      if (Number.isInteger(bin) && count > 0) sketch.#add(bin, count)
    }
    return sketch
  }

  #add(bin: number, times: number) {
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + times)
    this.count += times
  }

  #sorted(): number[] {
    return [...this.#bins.keys()].sort((a, b) => a - b)
  }
}
