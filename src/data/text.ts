import { type Script, toScript } from './script.ts'

/** How a text is made uniform before it is cut into tokens; part of the model's pipeline. */
export interface Normalisation {
  /** Unicode normal form: NFKC also folds full-width letters and digits into plain ones. */
  unicode: 'NFC' | 'NFKC' | 'none'
  lowercase: boolean
  /** Chinese is converted to this script; left as it is if absent. */
  script?: Script
}

/**
 * Applies the normal form, converts Chinese to one script, lower case character by character (as tokenizer libraries do, without context rules), removes
 * control characters and makes every run of white space one blank.
 */
export function normalise(text: string, { unicode, lowercase, script }: Normalisation): string {
  let result = unicode === 'none' ? text : text.normalize(unicode)
  if (script) result = toScript(result, script)
  if (lowercase && /\p{Lu}|\p{Lt}/u.test(result))
    result = Array.from(result, (character) => character.toLowerCase()).join('')
  return result
    .replace(/[\p{Cc}\p{Cf}]/gu, (character) => (/\s/.test(character) ? ' ' : ''))
    .replace(/\s+/gu, ' ')
    .trim()
}

/** What two texts share when they differ only in case, width, punctuation and blanks. */
export const bareText = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}]+/gu, '')

const scripts = [
  'Han',
  'Latin',
  'Cyrillic',
  'Arabic',
  'Hiragana',
  'Katakana',
  'Hangul',
  'Devanagari',
  'Greek',
  'Hebrew',
  'Thai',
] as const
const patterns = scripts.map((script) => [script, new RegExp(`\\p{Script=${script}}`, 'u')] as const)

/** The script most of a text is written in, judged by its first letters; `Other` when it is none of the common ones. */
export function mainScript(text: string, letters = 64): string {
  const counts = new Map<string, number>()
  let seen = 0
  for (const character of text) {
    if (seen >= letters) break
    if (!/\p{L}/u.test(character)) continue
    seen++
    const script = patterns.find(([, pattern]) => pattern.test(character))?.[0] ?? 'Other'
    counts.set(script, (counts.get(script) ?? 0) + 1)
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'None'
}

/** A script's place among the common ones; 0 for none and `Other`'s after them. */
export const scriptNumber = (script: string) =>
  script === 'None' ? 0 : scripts.indexOf(script as (typeof scripts)[number]) + 1 || scripts.length + 1
