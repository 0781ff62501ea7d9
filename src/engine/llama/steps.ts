interface Waiting {
  readonly wanted: number
  begin(granted: number): void
}

/**
 * Steps in which texts are read and written together: each is one batch of llama.cpp, begins when the one before is over, and
 * takes along whoever waits by then. The library alone goes on as soon as a part of the texts is there, in ever smaller batches,
 * and keeps its lock meanwhile, so that texts which come later wait until all others are written.
 */
export class Steps {
  readonly #size: number
  #waiting: Waiting[] = []
  #running = 0
  #opening = false

  /** `size`: most tokens in a batch. */
  constructor(size: number) {
    this.#size = size
  }

  /** Waits for the next step with tokens to read; how many of them it has room for, one at least. `over` must follow. */
  turn(wanted: number): Promise<number> {
    return new Promise((begin) => {
      this.#waiting.push({ wanted, begin })
      this.#open()
    })
  }

  /** One that had a turn has what it asked for. */
  readonly over = () => {
    this.#running--
    this.#open()
  }

  /** In the next cycle: by then the library has given back its lock, and all that became of a step has asked for the next. */
  #open() {
    if (this.#opening || this.#running > 0 || this.#waiting.length === 0) return
    this.#opening = true
    setImmediate(() => {
      this.#opening = false
      const texts = this.#waiting.splice(0, this.#size)
      this.#running = texts.length
      const share = Math.floor(this.#size / texts.length)
      const granted = texts.map(({ wanted }) => Math.min(wanted, share))
      let left = this.#size - granted.reduce((sum, tokens) => sum + tokens, 0)
      for (const [i, { wanted, begin }] of texts.entries()) {
        const more = Math.min(left, wanted - granted[i])
        left -= more
        begin(granted[i] + more)
      }
    })
  }
}
