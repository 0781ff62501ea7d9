/** The logarithm of a mixture of likelihood ratios, and what was seen of it. */
class Mixture {
  readonly logs: number[]

  constructor(parts: number, saved?: readonly number[]) {
    this.logs = saved?.length === parts ? [...saved] : new Array<number>(parts).fill(0)
  }

  add(gain: (part: number) => number) {
    for (let part = 0; part < this.logs.length; part++) this.logs[part] += gain(part)
  }

  /** ln of the mean of the parts. */
  get value(): number {
    const top = Math.max(...this.logs)
    return top + Math.log(this.logs.reduce((sum, log) => sum + Math.exp(log - top), 0) / this.logs.length)
  }
}

/** What a test has seen, as it is kept: logarithms of its mixtures' parts, and counts. */
export interface SavedEvidence {
  worse: readonly number[]
  fine: readonly number[]
  rare?: readonly number[]
  stable: { seen: number; bad: number }
  candidate: { seen: number; bad: number }
}

/** How many times as often a bad thing may befall the candidate: what the tests bet on, all at once. */
const HARMS = [1.25, 1.5, 2, 3, 5, 10, 30]
const RELIEFS = [0.75, 0.5, 0.35, 0.2, 0.05]
/** Shares, as parts of a limit that they are below. */
const PARTS = [0.9, 0.75, 0.5, 0.25, 0.05, 0.01]

/**
 * Evidence about how often something bad happens to one sequence of things, against a limit: above `limit`, or below
 * `bearable`. A product of likelihood ratios against the least favourable share within the hypothesis, mixed over several
 * alternatives, is a supermartingale: it ever reaches 1/α with probability α at most (Ville 1939; Wald 1945, Robbins 1970).
 */
export class ShareEvidence {
  readonly #limit: number
  readonly #bearable: number
  readonly #worse: Mixture
  readonly #fine: Mixture
  readonly #harms: readonly number[]
  readonly count = { seen: 0, bad: 0 }

  constructor(limit: number, bearable: number, saved?: SavedEvidence) {
    this.#limit = limit
    this.#bearable = bearable
    this.#harms = HARMS.map((ratio) => (limit * ratio) / (1 - limit + limit * ratio)) // of the odds: below 1 for any limit
    this.#worse = new Mixture(HARMS.length, saved?.worse)
    this.#fine = new Mixture(PARTS.length, saved?.fine)
    if (saved) Object.assign(this.count, saved.candidate)
  }

  add(bad: boolean) {
    this.count.seen++
    if (bad) this.count.bad++
    const gain = (share: number, against: number) =>
      bad ? Math.log(share / against) : Math.log((1 - share) / (1 - against))
    this.#worse.add((part) => gain(this.#harms[part], this.#limit))
    this.#fine.add((part) => gain(PARTS[part] * this.#bearable, this.#bearable))
  }

  /** ln of the evidence that the share is above the limit; from ln(1/α) on it is enough for level α. */
  get worse(): number {
    return this.#worse.value
  }

  /** ln of the evidence that the share is below what is bearable. */
  get fine(): number {
    return this.#fine.value
  }

  toJSON(): SavedEvidence {
    return { worse: this.#worse.logs, fine: this.#fine.logs, stable: { seen: 0, bad: 0 }, candidate: this.count }
  }
}

/**
 * Evidence that the candidate of a roll-out fares worse than the stable version in one respect, or that it does not, valid
 * whenever one looks. While both are alike, a bad thing (a failed request, a slow one, a wrong answer) befalls the candidate
 * with the probability with which requests come to it, however often bad things happen and however that changes in time. So
 * only bad things are evidence: a likelihood ratio each of "r times as often", mixed over several r, as `ShareEvidence` has
 * it (the conditional test of two rates of Przyborowski and Wilenski 1940 made sequential, as Johari, Pekelis and Walsh 2015 do
 * for experiments on the web). It is no worse when it is shown to be bad less than `unbearable` times as often, or, where
 * bad things are rare, in less than the share `bearable` of its requests.
 */
export class RateEvidence {
  readonly #unbearable: number
  readonly #worse: Mixture
  readonly #fine: Mixture
  readonly #rare: ShareEvidence
  readonly stable = { seen: 0, bad: 0 }

  constructor(unbearable: number, bearable: number, saved?: SavedEvidence) {
    this.#unbearable = unbearable
    this.#worse = new Mixture(HARMS.length, saved?.worse)
    this.#fine = new Mixture(RELIEFS.length, saved?.fine)
    const rare = saved && { ...saved, worse: [], fine: saved.rare ?? [] }
    this.#rare = new ShareEvidence(bearable, bearable, rare)
    if (saved) Object.assign(this.stable, saved.stable)
  }

  get candidate() {
    return this.#rare.count
  }

  /** Counts one request; `weight` is the share of requests that comes to the candidate now, above 0 and below 1. */
  add(ofCandidate: boolean, bad: boolean, weight: number) {
    if (ofCandidate) this.#rare.add(bad)
    else {
      this.stable.seen++
      if (bad) this.stable.bad++
    }
    if (!bad) return
    const chance = (ratio: number) => (ofCandidate ? weight * ratio : 1 - weight) / (weight * ratio + 1 - weight)
    this.#worse.add((part) => Math.log(chance(HARMS[part]) / chance(1)))
    this.#fine.add((part) => Math.log(chance(RELIEFS[part] * this.#unbearable) / chance(this.#unbearable)))
  }

  /** ln of the evidence that bad things befall the candidate more often. */
  get worse(): number {
    return this.#worse.value
  }

  /** ln of the evidence that they befall it not unbearably often. */
  get fine(): number {
    return Math.max(this.#fine.value, this.#rare.fine)
  }

  toJSON(): SavedEvidence {
    const { stable, candidate } = this
    return { worse: this.#worse.logs, fine: this.#fine.logs, rare: this.#rare.toJSON().fine, stable, candidate }
  }
}
