import { fail } from '../base/errors.ts'
import { type DataFile, tableRows } from './records.ts'

/** Texts that belong together, an anchor first and its match second; a third is close and wrong. Or two, and how alike they are. */
export interface Grouped {
  readonly texts: readonly string[]
  /** From 0 to 1. */
  readonly score?: number
}

/** Names of columns, most telling first. */
const known = {
  anchor: ['anchor', 'query', 'question', 'sentence1', 'sentence_a', 'text1', 'text_a', 'premise'],
  match: ['positive', 'match', 'answer', 'passage', 'sentence2', 'sentence_b', 'text2', 'text_b', 'hypothesis'],
  negative: ['negative', 'hard_negative'],
  score: ['score', 'similarity'],
}

/**
 * Pairs, triples or scored pairs of texts, from a CSV, TSV, JSONL or Parquet file. Scores beyond 1 are divided by the
 * highest. Rows with an empty text are left out. Throws COLUMN_AMBIGUOUS, DATA_MALFORMED or DATA_EMPTY.
 */
export async function readPairs(file: DataFile): Promise<Grouped[]> {
  const rows: { texts: string[]; score?: number }[] = []
  let columns: Partial<Record<keyof typeof known, string>> | undefined
  for await (const { line, values } of tableRows(file)) {
    columns ??= choose(Object.keys(values), file.name)
    const texts = [columns.anchor, columns.match, columns.negative].flatMap((name) =>
      name === undefined ? [] : [(values[name] ?? '').trim()],
    )
    if (texts.includes('')) continue
    if (columns.score === undefined) {
      rows.push({ texts })
      continue
    }
    const score = Number(values[columns.score] || Number.NaN)
    if (!Number.isFinite(score) || score < 0)
      throw fail('DATA_MALFORMED', { source: file.name, line, reason: `"${columns.score}" is no score from 0 on` })
    rows.push({ texts: texts.slice(0, 2), score })
  }
  if (rows.length === 0) throw fail('DATA_EMPTY', { source: file.name })
  const highest = rows.reduce((most, { score = 0 }) => Math.max(most, score), 1)
  return rows.map(({ texts, score }) => ({ texts, ...(score !== undefined && { score: score / highest }) }))
}

function choose(names: string[], source: string) {
  const find = (role: keyof typeof known) =>
    known[role].map((name) => names.find((one) => one.trim().toLowerCase() === name)).find(Boolean)
  const [score, negative] = [find('score'), find('negative')]
  const others = names.filter((name) => name !== score && name !== negative)
  const anchor = find('anchor') ?? (others.length === 2 ? others[0] : undefined)
  const match = find('match') ?? (others.length === 2 ? others.find((name) => name !== anchor) : undefined)
  if (anchor === undefined || match === undefined)
    throw fail('DATA_MALFORMED', {
      source,
      line: 1,
      reason: `expected columns anchor and positive (and negative or score), got ${names.join(', ').slice(0, 300)}`,
    })
  return { anchor, match, ...(negative && { negative }), ...(score && { score }) }
}
