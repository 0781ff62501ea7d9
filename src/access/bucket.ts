/**
 * So much a minute, as a bucket that holds a minute's worth and fills evenly. Times are milliseconds of a clock that no
 * one sets back.
 */
export class Bucket {
  readonly limit: number
  #level: number
  #at: number

  constructor(limit: number, now: number) {
    this.limit = limit
    this.#level = limit
    this.#at = now
  }

  /** What can be taken at a time; negative after more was used than taken beforehand. */
  level(now: number): number {
    this.#level = Math.min(this.limit, this.#level + ((now - this.#at) * this.limit) / 60_000)
    this.#at = now
    return this.#level
  }

  /** Milliseconds until `count` (at most the limit) can be taken; 0 for now. */
  wait(count: number, now: number): number {
    const missing = Math.min(count, this.limit) - this.level(now)
    if (missing <= 1e-9) return 0
    return this.limit === 0 ? 60_000 : (missing * 60_000) / this.limit
  }

  /** Takes, or with a negative count gives back. */
  take(count: number) {
    this.#level = Math.min(this.limit, this.#level - count)
  }
}
