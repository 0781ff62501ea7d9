import type { NativeContext } from './library.ts'

/** A place for a text: its part of llama.cpp's memory, its number in the row, and the tokens that it has read. */
export interface Seat {
  readonly number: number
  readonly read: number[]
}

/**
 * Tokens that may be read twice for a place beside one in use: llama.cpp runs only texts of adjacent places together, and going
 * through the weights once more takes as long as about ten tokens beside others.
 */
const BESIDE = 8

/** Places for texts that are written at the same time. */
export class Seats {
  readonly #free: Seat[]
  readonly #taken = new Set<number>()

  constructor(count: number) {
    this.#free = Array.from({ length: count }, (_, number) => ({ number, read: [] }))
  }

  /** How many are free. */
  get free(): number {
    return this.#free.length
  }

  /**
   * The free place that suits these tokens best: it has read most of their beginning already, or is beside one in use. Among
   * equals that which was given back first, so that what was read lately stays. One has to be free.
   */
  take(tokens: readonly number[]): Seat {
    const beside = (number: number) => Number(this.#taken.has(number - 1)) + Number(this.#taken.has(number + 1))
    const rated = this.#free.map((seat) => ({
      seat,
      worth: alike(seat.read, tokens) + BESIDE * beside(seat.number),
    }))
    const [{ seat }] = rated.sort((a, b) => b.worth - a.worth)
    this.#free.splice(this.#free.indexOf(seat), 1)
    this.#taken.add(seat.number)
    return seat
  }

  give(seat: Seat) {
    this.#taken.delete(seat.number)
    this.#free.push(seat)
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
