import type { TextCodec } from '../data/codec.ts'

/** Turns tokens into text that can be shown as it comes: no character is cut, and nothing of a stop string goes out. */
export class TextStream {
  readonly #codec: Pick<TextCodec, 'bytes'>
  readonly #stop: readonly string[]
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  #held = ''

  constructor(codec: Pick<TextCodec, 'bytes'>, stop: readonly string[]) {
    this.#codec = codec
    this.#stop = stop.filter((text) => text !== '')
  }

  /** What can be shown after one more token; `stopped` when a stop string is complete, and nothing may follow. */
  push(token: number): { text: string; stopped: boolean } {
    return this.#release(this.#held + this.#decoder.decode(this.#codec.bytes(token), { stream: true }))
  }

  /** What was held back, when no token follows. */
  end(): { text: string; stopped: boolean } {
    const { text, stopped } = this.#release(this.#held + this.#decoder.decode())
    return stopped ? { text, stopped } : { text: text + this.#held, stopped }
  }

  #release(pending: string): { text: string; stopped: boolean } {
    const found = this.#stop.map((stop) => pending.indexOf(stop)).filter((at) => at >= 0)
    if (found.length > 0) {
      this.#held = ''
      return { text: pending.slice(0, Math.min(...found)), stopped: true }
    }
    const keep = Math.max(0, ...this.#stop.map((stop) => overlap(pending, stop)))
    this.#held = pending.slice(pending.length - keep)
    return { text: pending.slice(0, pending.length - keep), stopped: false }
  }
}

/** How many characters at the end of `text` begin `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--)
    if (text.endsWith(stop.slice(0, length))) return length
  return 0
}
