import { extname } from 'node:path'
import { fail } from '../base/errors.ts'
import { type DataFile, textLines } from './records.ts'

/** A text as its words, each with a tag (`B-PER`, `I-PER`, `O`, or any other). */
export interface TaggedText {
  readonly words: readonly string[]
  readonly tags: readonly string[]
}

const wordKeys = ['tokens', 'words']
const tagKeys = ['tags', 'ner_tags', 'labels']
/** Words of one text: beyond it, a blank line was most likely forgotten. */
const WORD_LIMIT = 100_000

/**
 * Texts with tagged words, from JSON lines (`tokens` and `tags`) or a CoNLL file: a word a line, its tag last, a blank line
 * between texts. Throws DATA_MALFORMED naming the line.
 */
export async function* readTagged(file: DataFile): AsyncGenerator<TaggedText> {
  if (/^\.(jsonl|ndjson)$/i.test(extname(file.name))) yield* readJson(file)
  else yield* readColumns(file)
}

async function* readJson(file: DataFile): AsyncGenerator<TaggedText> {
  let line = 0
  for await (const text of textLines(file)) {
    line++
    if (text.trim() === '') continue
    const refuse = (reason: string) => fail('DATA_MALFORMED', { source: file.name, line, reason })
    let row: Record<string, unknown>
    try {
      row = JSON.parse(text) as Record<string, unknown>
    } catch {
      throw refuse('not a JSON object')
    }
    const pick = (keys: readonly string[]) => {
      const found = keys.map((key) => row?.[key]).find((value) => value !== undefined)
      if (!Array.isArray(found) || found.some((item) => typeof item !== 'string'))
        throw refuse(`"${keys[0]}" is not a list of texts`)
      return found as string[]
    }
    const [words, tags] = [pick(wordKeys), pick(tagKeys)]
    if (words.length !== tags.length) throw refuse(`${words.length} words, ${tags.length} tags`)
    if (words.length > WORD_LIMIT) throw refuse(`a text of over ${WORD_LIMIT} words`)
    if (words.length > 0) yield { words, tags }
  }
}

async function* readColumns(file: DataFile): AsyncGenerator<TaggedText> {
  let line = 0
  let words: string[] = []
  let tags: string[] = []
  for await (const text of textLines(file)) {
    line++
    const fields = text.trim().split(/[\t ]+/)
    const first = fields[0]
    if (first === '' || first === '-DOCSTART-') {
      if (words.length > 0) yield { words, tags }
      ;[words, tags] = [[], []]
      continue
    }
    const refuse = (reason: string) => fail('DATA_MALFORMED', { source: file.name, line, reason })
    if (fields.length < 2) throw refuse('a word without a tag')
    if (words.length >= WORD_LIMIT) throw refuse(`a text of over ${WORD_LIMIT} words`)
    words.push(first)
    tags.push(fields.at(-1)!)
  }
  if (words.length > 0) yield { words, tags }
}
