import type { Sequence } from './library.ts'

/** A place for a text: its part of the cache, and its number in the row. */
export interface Seat {
  readonly number: number
  readonly sequence: Sequence
}

interface Waiting {
  readonly tokens: readonly number[]
  seat(seat: Seat): void
}

/** Places for texts that are written at the same time. Who comes when all are taken waits, first come first served. */
export class Seats {
  readonly #free: Seat[]
  readonly #taken = new Set<number>()
  #waiting: Waiting[] = []

  constructor(sequences: readonly Sequence[]) {
    this.#free = sequences.map((sequence, number) => ({ number, sequence }))
  }

  /** The free place that suits these tokens best; undefined if `signal` fires before one is free. */
  take(tokens: readonly number[], signal: AbortSignal): Promise<Seat | undefined> {
    if (signal.aborted) return Promise.resolve(undefined)
    if (this.#free.length > 0) return Promise.resolve(this.#best(tokens))
    return new Promise((resolve) => {
      const leave = () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting)
        resolve(undefined)
      }
      const waiting: Waiting = {
        tokens,
        seat(seat) {
          signal.removeEventListener('abort', leave)
          resolve(seat)
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiting.push(waiting)
    })
  }

  give(seat: Seat) {
    this.#taken.delete(seat.number)
    this.#free.push(seat)
    const next = this.#waiting.shift()
    next?.seat(this.#best(next.tokens))
  }

  /**
   * The one that has read most of the beginning already. Among equals one beside those in use, since llama.cpp runs only texts
   * of adjacent places together; then the one that was given back first, so that what was read lately stays.
   */
  #best(tokens: readonly number[]): Seat {
    const rated = this.#free.map((seat) => ({
      seat,
      shared: seat.sequence.compareContextTokens(tokens).firstDifferentIndex,
      beside: Number(this.#taken.has(seat.number - 1)) + Number(this.#taken.has(seat.number + 1)),
    }))
    const [{ seat }] = rated.sort((a, b) => b.shared - a.shared || b.beside - a.beside)
    this.#free.splice(this.#free.indexOf(seat), 1)
    this.#taken.add(seat.number)
    return seat
  }
}
