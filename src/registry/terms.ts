/** Words kept of one text, and characters of a word. */
const MOST = 2_000
const LONGEST = 40

const WORD = /[\p{L}\p{N}\p{M}]+/gu
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+|[^\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+/gu
const STARTS_UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u

/** Stretches of a text that are words, or runs of a script that is written without blanks. */
function* stretches(text: string): Generator<{ stretch: string; unspaced: boolean }> {
  for (const [word] of text.normalize('NFKC').toLowerCase().matchAll(WORD))
    for (const [stretch] of word.matchAll(UNSPACED)) yield { stretch, unspaced: STARTS_UNSPACED.test(stretch) }
}

const pairs = (characters: readonly string[]) => characters.slice(1).map((next, i) => characters[i] + next)

/**
 * Terms that a text is found by: its words in lower case; of scripts without blanks (Chinese, Japanese, Thai) each pair of
 * neighbouring characters, and the last one alone, so that every character begins a term.
 */
export function termsOf(text: string): Set<string> {
  const terms = new Set<string>()
  for (const { stretch, unspaced } of stretches(text)) {
    const characters = [...stretch]
    const found = unspaced ? [...pairs(characters), characters.at(-1)!] : [characters.slice(0, LONGEST).join('')]
    for (const term of found) if (terms.size < MOST) terms.add(term)
  }
  return terms
}

/** Beginnings of terms that must all be found: words as they are, of scripts without blanks their pairs. At most 16. */
export function wantedTerms(search: string): string[] {
  const wanted = new Set<string>()
  for (const { stretch, unspaced } of stretches(search)) {
    const characters = [...stretch]
    const found = unspaced && characters.length > 1 ? pairs(characters) : [characters.slice(0, LONGEST).join('')]
    for (const term of found) wanted.add(term)
  }
  return [...wanted].slice(0, 16)
}
