import { type AthanorError, asAthanorError } from '../../base/errors.ts'
import { monotonic } from '../messages.ts'
import type { NativeContext } from './library.ts'
import { keepBeginning, type Seat, type Seats } from './seats.ts'

/** Milliseconds that a step may take where it can be made shorter: as long, others wait for their next token or for the end. */
const LONG = 1000
/** Fewest tokens that a step has room for. */
const LEAST = 64

interface Options {
  /** Most tokens in a batch. */
  readonly size: number
  /** Tokens that a model with a sliding window looks back at, else 0. */
  readonly window: number
  /**
   * What the context is asked runs in the order in which it was asked. Then tokens are drawn right behind the step that they come
   * from: the event loop need not be woken in between, and the step stays with a thread whose caches know it.
   */
  readonly inTurn: boolean
  /** Called after each step. */
  stepped(): void
}

/** A text as the steps see it. `Drawn` is what its own `draw` brings. */
export interface Text<Drawn = unknown> {
  /** What it begins with; what it has written is added by `draw`. */
  readonly tokens: readonly number[]
  /** It needs no more steps: complete, or nobody waits for it. */
  readonly over: boolean
  /** Draws the next token from logits that stand there until the next step. */
  draw(context: NativeContext, logits: number): Promise<Drawn>
  /** Hears of what was drawn, while the next step runs. */
  tell(drawn: Drawn): void
  fail(error: AthanorError): void
  /** It has left its seat, or waits for one no longer. */
  leave(): void
}

interface Seated {
  readonly text: Text
  readonly seat: Seat
}

interface Part {
  readonly text: Text
  /** How many are read. */
  readonly tokens: number
  /** Where its logits are, once all its tokens are read. */
  readonly logits: number | undefined
}

/**
 * Steps in which texts are read and written together: each is one batch of llama.cpp, with a token of each text that is being
 * written and as much of the beginnings of others as there is room for. Texts come and go between steps; who finds no seat
 * waits, first come first served. What follows from a token for its reader is done while the next step runs.
 */
export class Steps {
  readonly #context: NativeContext
  readonly #seats: Seats
  readonly #options: Options
  #size: number
  #coming: Text[] = []
  #texts: Seated[] = []
  #busy = false
  count = 0

  constructor(context: NativeContext, seats: Seats, options: Options) {
    this.#context = context
    this.#seats = seats
    this.#options = options
    this.#size = options.size
  }

  add(text: Text) {
    this.#coming.push(text)
    if (this.#busy) return
    this.#busy = true
    setImmediate(() => this.#work()) // with others that came in the same message
  }

  async #work() {
    let untold: (() => void)[] = []
    const tell = () => {
      for (const one of untold) one()
      untold = []
    }
    for (;;) {
      this.#change()
      if (this.#texts.length === 0) {
        tell()
        if (this.#coming.length === 0) break
        continue
      }
      const started = monotonic()
      let read = 0
      try {
        const parts = this.#begin()
        read = parts.reduce((sum, { tokens }) => sum + tokens, 0)
        const running = this.#context.decodeBatch()
        const drawing = this.#options.inTurn ? this.#draw(parts) : running.then(() => this.#draw(parts))
        tell()
        await Promise.allSettled([running, drawing]) // who draws still needs the sampler, also where the step fails
        await running
        untold = await drawing
      } catch (error) {
        for (const one of this.#texts) this.#end(one, asAthanorError(error))
        this.#texts = []
      }
      this.#size = paced(this.#size, this.#options.size, read, monotonic() - started)
      this.count++
      this.#options.stepped()
    }
    this.#busy = false
  }

  /** Who is done leaves, in favour of who waits; who came joins. */
  #change() {
    const texts = this.#texts
    this.#texts = texts.filter(({ text }) => !text.over)
    for (const one of texts) if (one.text.over) this.#end(one)
    for (const text of this.#coming) if (text.over) text.leave()
    this.#coming = this.#coming.filter(({ over }) => !over)
    const joining = this.#coming.splice(0, this.#seats.free)
    // the longest first, so that those of adjacent places go on being read together when shorter ones are done
    for (const text of joining.sort((a, b) => b.tokens.length - a.tokens.length)) {
      const seat = this.#seats.take(text.tokens)
      keepBeginning(seat, text.tokens, this.#context, this.#options.window)
      this.#texts.push({ text, seat })
    }
    // llama.cpp runs only texts of adjacent places together
    this.#texts.sort((a, b) => a.seat.number - b.seat.number)
  }

  #end({ text, seat }: Seated, error?: AthanorError) {
    if (error) {
      text.fail(error)
      this.#context.disposeSequence(seat.number)
      seat.read.length = 0
    }
    text.leave()
    this.#seats.give(seat)
  }

  #begin(): Part[] {
    const left = this.#texts.map(({ text, seat }) => text.tokens.slice(seat.read.length))
    const granted = share(
      this.#size,
      left.map(({ length }) => length),
    )
    this.#context.initBatch(granted.reduce((sum, count) => sum + count, 0))
    return this.#texts.map(({ text, seat: { number, read } }, i) => {
      const piece = left[i].slice(0, granted[i])
      const wanted = granted[i] === left[i].length ? [piece.length - 1] : []
      const [logits] = this.#context.addToBatch(number, read.length, Uint32Array.from(piece), Uint32Array.from(wanted))
      for (const token of piece) read.push(token)
      return { text, tokens: piece.length, logits }
    })
  }

  /** Draws for each text that is read; gives what is to be told then. */
  async #draw(parts: readonly Part[]): Promise<(() => void)[]> {
    const drawn = await Promise.all(
      parts.map(async ({ text, logits }) => {
        if (logits === undefined) return undefined
        try {
          const token = await text.draw(this.#context, logits)
          return () => text.tell(token)
        } catch (error) {
          return () => text.fail(asAthanorError(error))
        }
      }),
    )
    return drawn.filter((one) => one !== undefined)
  }
}

/**
 * How many tokens the next step has room for, at most `most`, after one with room for `size` read so many in `took` milliseconds.
 * Only what filled its room tells that there may be more: a step that writes alone is short however large the model.
 */
export function paced(size: number, most: number, read: number, took: number): number {
  if (took > LONG) return Math.max(LEAST, size >> 1)
  return read > size / 2 && took < LONG / 3 ? Math.min(most, size << 1) : size
}

/**
 * How many of the tokens that each text has left are read in a step of `size`: one at least, and alike many as far as they have
 * them, since llama.cpp runs only as many of each text together.
 */
export function share(size: number, left: readonly number[]): number[] {
  let room = size
  for (const [i, count] of left.toSorted((a, b) => a - b).entries()) {
    const even = Math.max(1, Math.floor(room / (left.length - i)))
    if (count > even) return left.map((all) => Math.min(all, even))
    room -= count
  }
  return [...left]
}
