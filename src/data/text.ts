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
const patterns = scripts.map((script) => new RegExp(`\\p{Script=${script}}`, 'u'))
const OTHER = scripts.length

/** Of every character that was met, the place of its script, with 1 for what is no letter and 0 for not met: asked for each request. */
const met = new Uint8Array(0x11_0000)

/** The place of a letter's script among the common ones, `OTHER` for the rest, -1 for what is no letter. */
function scriptAt(point: number): number {
  if (met[point] === 0) {
    const character = String.fromCodePoint(point)
    const found = patterns.findIndex((pattern) => pattern.test(character))
    met[point] = /\p{L}/u.test(character) ? 2 + (found < 0 ? OTHER : found) : 1
  }
  return met[point] - 2
}

/** The script most of a text is written in, judged by its first letters; `Other` when it is none of the common ones. */
export function mainScript(text: string, letters = 64): string {
  const counts = new Uint32Array(OTHER + 1)
  const order: number[] = []
  let seen = 0
  for (let i = 0; i < text.length && seen < letters; i++) {
    const point = text.codePointAt(i)!
    if (point > 0xffff) i++
    const at = scriptAt(point)
    if (at < 0) continue
    seen++
    if (counts[at]++ === 0) order.push(at)
  }
  if (seen === 0) return 'None'
  // of two that are equally frequent, the one that came first
  return scripts[order.reduce((most, at) => (counts[at] > counts[most] ? at : most))] ?? 'Other'
}

/** A script's place among the common ones; 0 for none and `Other`'s after them. */
export const scriptNumber = (script: string) =>
  script === 'None' ? 0 : scripts.indexOf(script as (typeof scripts)[number]) + 1 || scripts.length + 1
