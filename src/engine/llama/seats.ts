import type { Sequence } from './library.ts'

interface Waiting {
  readonly tokens: readonly number[]
  seat(sequence: Sequence): void
}

/** Places for texts that are written at the same time. Who comes when all are taken waits, first come first served. */
export class Seats {
  readonly #free: Sequence[]
  #waiting: Waiting[] = []

  constructor(sequences: readonly Sequence[]) {
    this.#free = [...sequences]
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** The free place that has read most of the beginning of these tokens already; undefined if `signal` fires before. */
  take(tokens: readonly number[], signal: AbortSignal): Promise<Sequence | undefined> {
    if (signal.aborted) return Promise.resolve(undefined)
    if (this.#free.length > 0) return Promise.resolve(this.#best(tokens))
    return new Promise((resolve) => {
      const leave = () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting)
        resolve(undefined)
      }
      const waiting: Waiting = {
        tokens,
        seat(sequence) {
          signal.removeEventListener('abort', leave)
          resolve(sequence)
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiting.push(waiting)
    })
  }

  give(sequence: Sequence) {
    this.#free.push(sequence)
    const next = this.#waiting.shift()
    next?.seat(this.#best(next.tokens))
  }

  /** The longest common beginning; among equals the place that was given back first, so that what was read lately stays. */
  #best(tokens: readonly number[]): Sequence {
    const shared = this.#free.map((sequence) => sequence.compareContextTokens(tokens).firstDifferentIndex)
    return this.#free.splice(shared.indexOf(Math.max(...shared)), 1)[0]
  }
}
