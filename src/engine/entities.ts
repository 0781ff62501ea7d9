import type { Spans } from '../data/published.ts'
import { type Read, scriptOf } from '../drift/features.ts'
import type { Entity } from './messages.ts'

/** What a tag says beside its label: B- begins a stretch, I- goes on with it (Ramshaw & Marcus 1995); others stand alone. */
function partsOf(tag: string): { begins: boolean; label: string } {
  const [, prefix, label] = /^([BI])-(.+)$/.exec(tag) ?? [undefined, 'I', tag]
  return { begins: prefix === 'B', label: label! }
}

/** Tags that mean no label. */
const outside = (tag: string) => tag === 'O'

/**
 * The labelled stretches of a text from the probabilities of its tokens (tokens, classes): a word has the label of its
 * first token, and neighbouring words of the same label are one stretch unless the second begins anew. The score is
 * the mean over its words.
 */
export function entitiesOf(
  { starts, ends, words, text }: Omit<Spans, 'ids'> & { text: string },
  probabilities: Float32Array,
  tags: readonly string[],
): Entity[] {
  const entities: (Entity & { words: number })[] = []
  let last = -1
  let open: (typeof entities)[number] | undefined
  for (let t = 0; t < words.length; t++) {
    if (words[t] < 0) continue
    if (words[t] === last) {
      if (open && open.end === ends[t - 1]) open.end = ends[t]
      continue
    }
    last = words[t]
    const row = probabilities.subarray(t * tags.length, (t + 1) * tags.length)
    const best = row.indexOf(Math.max(...row))
    const tag = tags[best]
    if (outside(tag)) {
      open = undefined
      continue
    }
    const { begins, label } = partsOf(tag)
    if (open && open.label === label && !begins) {
      open.score = (open.score * open.words + row[best]) / ++open.words
      open.end = ends[t]
    } else {
      open = { label, score: row[best], start: starts[t], end: ends[t], text: '', words: 1 }
      entities.push(open)
    }
  }
  return entities.map(({ words: _, ...entity }) => ({ ...entity, text: text.slice(entity.start, entity.end) }))
}

/** Numbers, from 1, of the labels that stretches can have. */
export function labelNumbers(tags: readonly string[]): ReadonlyMap<string, number> {
  const labels = new Set(tags.filter((tag) => !outside(tag)).map((tag) => partsOf(tag).label))
  return new Map([...labels].map((label, i) => [label, i + 1]))
}

/** A text as it is compared with others: its words' tokens, its script, and what was found in it. */
export function readOf(
  { ids, words, text }: Pick<Spans, 'ids' | 'words'> & { text: string },
  entities: readonly Entity[],
  numbers: ReadonlyMap<string, number>,
): Read {
  const found = entities.map(({ label, score }) => ({ label: numbers.get(label)!, score }))
  return { ids: ids.filter((_, t) => words[t] >= 0), script: scriptOf(text), found }
}
