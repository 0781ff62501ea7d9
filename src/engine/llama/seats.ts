import type { NativeContext } from './library.ts'

/** A place for a text: its part of llama.cpp's memory, its number in the row, and the tokens that it has read. */
export interface Seat {
  readonly number: number
  readonly read: number[]
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

  constructor(count: number) {
    this.#free = Array.from({ length: count }, (_, number) => ({ number, read: [] }))
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
      shared: alike(seat.read, tokens),
      beside: Number(this.#taken.has(seat.number - 1)) + Number(this.#taken.has(seat.number + 1)),
    }))
    const [{ seat }] = rated.sort((a, b) => b.shared - a.shared || b.beside - a.beside)
    this.#free.splice(this.#free.indexOf(seat), 1)
    this.#taken.add(seat.number)
    return seat
  }
}

/** How many tokens two texts begin with alike. */
function alike(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/**
 * Keeps of what a seat has read only what the text of these tokens begins with, without its last one, which is read for what
 * follows it. All is forgotten where memory cannot be cut there: that of a recurrent model, or of a window (`windowSize`
 * tokens) that has gone on since.
 */
export function keepBeginning(
  { number, read }: Seat,
  tokens: readonly number[],
  context: NativeContext,
  windowSize = 0,
) {
  const kept = Math.min(alike(read, tokens), tokens.length - 1)
  if (kept === read.length) return
  const first = context.getSequenceKvCacheMinPosition(number)
  const needed = windowSize > 0 ? Math.max(0, kept - windowSize) : 0
  const cut = kept > 0 && first <= needed && context.removeTokenCellsFromSequence(number, kept, -1)
  if (!cut) context.disposeSequence(number)
  read.length = cut ? kept : 0
}
