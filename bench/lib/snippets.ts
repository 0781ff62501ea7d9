import { readFileSync } from 'node:fs'
import { random, shuffle } from '../../src/base/random.ts'

const [LABELLED, HELD_OUT] = [2000, 4000]

/** Lines of text and label: to learn from, to measure on, and others. */
export interface Parts {
  readonly first: string[]
  readonly test: string[]
  readonly rest: string[]
}

/**
 * Movie review snippets (movieReviewSnippets_GroundTruth.txt of vaderSentiment 2.5 on PyPI) whose mean sentiment is not 0, as
 * lines of text and label: 2,000 to learn from, 4,000 to measure on, and the rest.
 */
export function snippets(path: string): Parts {
  const rows = readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.trim().split('\t'))
    .filter(([, score, text]) => text && Number(score) !== 0)
    .map(([, score, text]) => `${text.replaceAll('"', "'")}\t${Number(score) > 0 ? 'positive' : 'negative'}`)
  const all = shuffle(rows, random(1))
  return {
    first: all.slice(0, LABELLED),
    test: all.slice(LABELLED, LABELLED + HELD_OUT),
    rest: all.slice(LABELLED + HELD_OUT),
  }
}
