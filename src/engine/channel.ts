import type { AthanorError } from '../base/errors.ts'

/** A queue between one that tells and one that reads, ended or failed by the teller. Its length is bounded by the teller's work. */
export class Channel<T> {
  readonly #items: T[] = []
  #closed = false
  #error: AthanorError | undefined
  #wake = () => {}

  push(item: T) {
    if (this.#closed) return
    this.#items.push(item)
    this.#wake()
  }

  close() {
    this.#closed = true
    this.#wake()
  }

  /** What was pushed before is read first. */
  fail(error: AthanorError) {
    if (this.#closed) return
    this.#error = error
    this.close()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, undefined> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift()!
      if (this.#error) throw this.#error
      if (this.#closed) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
