const FAILURES = 5
const REST = 1_000
const LONGEST_REST = 30_000

/**
 * Keeps calls from a server that fails: after five failures in a row it is left alone for a second, then one call tries it;
 * each try that fails doubles the rest, up to half a minute.
 */
export class Breaker {
  readonly #now: () => number
  #failures = 0
  #rest = REST
  #restsUntil = 0
  #trying = false

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  get open(): boolean {
    return this.#failures >= FAILURES
  }

  /** Whether a call may go out; each that does is told of by `leave`. */
  enter(): boolean {
    if (!this.open) return true
    if (this.#trying || this.#now() < this.#restsUntil) return false
    this.#trying = true
    return true
  }

  /** `unknown`: the caller left before it was seen how the call ends. */
  leave(outcome: 'answered' | 'failed' | 'unknown') {
    if (outcome === 'unknown') this.#trying = false
    else if (outcome === 'answered') {
      this.#failures = 0
      this.#rest = REST
      this.#trying = false
    } else {
      const tried = this.#trying
      this.#trying = false
      this.#failures++
      if (!this.open) return
      if (tried) this.#rest = Math.min(LONGEST_REST, 2 * this.#rest)
      this.#restsUntil = this.#now() + this.#rest
    }
  }
}
