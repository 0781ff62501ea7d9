import type { Subject } from './subject.ts'
import { tokenTable } from './tokens.ts'

/** A word is taken for one of so many others, in so many of its places; vectors are compared in so many numbers. */
const [NEAREST, REPLACED, COMPARED] = [10, 0.2, 64]
/** Words that a stretch has at least, and the share of a text that it has at most. */
const [SHORTEST, LONGEST] = [3, 0.7]

const cutter = new Intl.Segmenter('und', { granularity: 'word' })
const LETTERS = /^\p{L}{2,}$/u

/** Makes a text of another: a stretch of it, or the same with some words taken for others. */
export type Inventor = (text: string, next: () => number) => string | undefined

/**
 * Texts that a teacher can be asked about where there are few (Tang et al. 2019; Jiao et al. 2020): half are stretches of a text,
 * half have in the place of some words others that lie near by the teacher's own vectors of tokens, where its vocabulary has words.
 * Undefined for texts of too few words.
 */
export function inventor(subject: Subject): Inventor {
  const near = neighbours(subject)
  return (text, next) => {
    const parts = [...cutter.segment(text)]
    const places = parts.flatMap(({ isWordLike }, i) => (isWordLike ? [i] : []))
    if (places.length <= SHORTEST) return undefined
    if (next() < 0.5) {
      const most = Math.max(SHORTEST, Math.floor(places.length * LONGEST))
      const count = SHORTEST + Math.floor(next() * (most - SHORTEST + 1))
      const first = Math.floor(next() * (places.length - count + 1))
      const words = parts.slice(places[first], places[first + count - 1] + 1)
      return words.map(({ segment }) => segment).join('')
    }
    return parts
      .map(({ segment }) => {
        if (!LETTERS.test(segment) || next() >= REPLACED) return segment
        const others = near(segment.toLowerCase())
        return others.length > 0 ? others[Math.floor(next() * others.length)] : segment
      })
      .join('')
  }
}

/** The words nearest to a word among those that are one token each, by the directions of their vectors. */
function neighbours(subject: Subject): (word: string) => readonly string[] {
  const words = wordsOf(Buffer.from(subject.files['tokenizer.json']).toString('utf8'))
  const table = tokenTable(subject, COMPARED) ?? tokenTable(subject, COMPARED / 4)
  const width = table?.dims[1] ?? 0
  const directions = new Map<string, Float32Array>()
  for (const [word, id] of table ? words : []) {
    const vector = table!.data.subarray(id * width, (id + 1) * width)
    const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
    if (length > 0)
      directions.set(
        word,
        vector.map((value) => value / length),
      )
  }
  const known = new Map<string, string[]>()
  const find = (word: string): string[] => {
    const own = directions.get(word)
    if (!own) return []
    const best: { other: string; cosine: number }[] = []
    for (const [other, vector] of directions) {
      let cosine = 0
      for (let i = 0; i < width; i++) cosine += own[i] * vector[i]
      if (other === word || (best.length === NEAREST && cosine <= best[NEAREST - 1].cosine)) continue
      best.splice(best.findLastIndex((one) => one.cosine >= cosine) + 1, 0, { other, cosine })
      best.length = Math.min(best.length, NEAREST)
    }
    return best.map(({ other }) => other)
  }
  return (word) => {
    const found = known.get(word) ?? find(word)
    known.set(word, found)
    return found
  }
}

/** Words that are one token each, with its id: written with a mark of a word's beginning where a vocabulary has one. */
export function wordsOf(tokenizerJson: string): [string, number][] {
  const { vocab } = (JSON.parse(tokenizerJson) as { model?: { vocab?: unknown } }).model ?? {}
  const entries: [string, number][] = Array.isArray(vocab)
    ? vocab.map(([token], id) => [String(token), id])
    : Object.entries((vocab ?? {}) as Record<string, number>)
  const mark = ['▁', 'Ġ'].find((sign) => entries.some(([token]) => token.length > 1 && token.startsWith(sign))) ?? ''
  return entries.flatMap(([token, id]) => {
    const word = token.startsWith(mark) ? token.slice(mark.length) : ''
    return LETTERS.test(word) ? [[word, id] as [string, number]] : []
  })
}
