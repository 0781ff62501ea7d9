import type { Batch } from './batch.ts'

/** Milliseconds between step events. */
const REPORT_EVERY = 250

/** Gathers what a step event tells of the steps since the one before. */
export class Pulse {
  #loss = 0
  #steps = 0
  #rows = 0
  #tokens = 0
  #since = performance.now()

  beat(loss: number, batches: readonly Batch[]) {
    this.#loss += loss
    this.#steps++
    for (const { rows, tokens = 0 } of batches) {
      this.#rows += rows
      this.#tokens += tokens
    }
  }

  get due(): boolean {
    return performance.now() - this.#since >= REPORT_EVERY
  }

  /** Mean loss, rows and tokens a second, and resident bytes; begins anew. */
  read() {
    const seconds = (performance.now() - this.#since) / 1000
    const told = {
      loss: this.#loss / Math.max(1, this.#steps),
      samplesPerSecond: this.#rows / seconds,
      ...(this.#tokens > 0 && { tokensPerSecond: this.#tokens / seconds }),
      memory: process.memoryUsage.rss(),
    }
    this.reset()
    return told
  }

  reset() {
    ;[this.#loss, this.#steps, this.#rows, this.#tokens, this.#since] = [0, 0, 0, 0, performance.now()]
  }
}
