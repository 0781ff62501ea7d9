import type { Metrics } from '../bundle/manifest.ts'

/** Counts labelled stretches that are found whole and with the right label, as CoNLL's evaluation does (Tjong Kim Sang 2003). */
export class EntityCounts {
  #right = 0
  #guessed = 0
  #true = 0
  #words = 0
  #rightWords = 0

  add(truth: readonly string[], guess: readonly string[]) {
    const [known, found] = [stretches(truth), stretches(guess)]
    for (const one of found) if (known.has(one)) this.#right++
    this.#guessed += found.size
    this.#true += known.size
    this.#words += truth.length
    truth.forEach((tag, i) => {
      if (tag === guess[i]) this.#rightWords++
    })
  }

  metrics(): Metrics {
    const precision = this.#guessed ? this.#right / this.#guessed : 0
    const recall = this.#true ? this.#right / this.#true : 0
    return {
      f1: precision + recall ? (2 * precision * recall) / (precision + recall) : 0,
      precision,
      recall,
      accuracy: this.#words ? this.#rightWords / this.#words : 0,
      entities: this.#true,
    }
  }
}

/** Each stretch as `from-to label`. An I- that follows nothing of its label begins a stretch, as in CoNLL's script. */
function stretches(tags: readonly string[]): Set<string> {
  const found = new Set<string>()
  let from = -1
  let label: string | undefined
  const close = (to: number) => {
    if (label !== undefined) found.add(`${from}-${to} ${label}`)
    label = undefined
  }
  tags.forEach((tag, i) => {
    if (tag === 'O') {
      close(i)
      return
    }
    const [, prefix, name] = /^([BI])-(.+)$/.exec(tag) ?? [undefined, 'I', tag]
    if (prefix === 'B' || name !== label) {
      close(i)
      ;[from, label] = [i, name]
    }
  })
  close(tags.length)
  return found
}
