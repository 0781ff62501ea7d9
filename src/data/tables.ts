import { Readable } from 'node:stream'
import { type Info, parse } from 'csv-parse'
import { fail } from '../base/errors.ts'
import { decodeFile } from './encoding.ts'

/** A row of a table before its columns have a meaning. */
export interface TableRow {
  line: number
  values: Record<string, string | undefined>
}

const RECORD_LIMIT = 16 << 20

/** What a table file needs to be read: its path on disk, the name to show, and its encoding. */
export interface TableFile {
  path: string
  source: string
  encoding: string
}

/** Rows of a file with a header line and separated values (RFC 4180 for commas; tabs are never inside a field). */
export async function* readSeparated(
  { path, source, encoding }: TableFile,
  delimiter: ',' | '\t',
): AsyncGenerator<TableRow> {
  const pieces = Readable.from(decodeFile(path, encoding, source))
  const parser = pieces.pipe(
    parse({
      delimiter,
      quote: delimiter === '\t' ? null : '"',
      info: true,
      skip_empty_lines: true,
      max_record_size: RECORD_LIMIT,
      relax_column_count_less: true,
      relax_quotes: true,
    }),
  )
  pieces.on('error', (error) => parser.destroy(error)) // a pipe does not pass errors on
  let header: string[] | undefined
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: Info }>) {
      if (!header) {
        header = record.map((name) =>
          unquote(name)
            .replace(/^\ufeff/, '')
            .trim(),
        )
        continue
      }
      const values = Object.fromEntries(
        header.map((name, i) => [name, record[i] === undefined ? undefined : unquote(record[i])]),
      )
      yield { line: info.lines, values }
    }
  } catch (error) {
    const { code, lines } = error as { code?: string; lines?: number }
    const reason = code && csvReasons[code]
    if (reason) throw fail('DATA_MALFORMED', { source, line: lines ?? 0, reason }, { cause: error })
    throw error
  } finally {
    parser.destroy()
    pieces.destroy() // closes the file, also when the reader stops early
  }
  if (!header) throw fail('DATA_EMPTY', { source })
}

const csvReasons: Record<string, string> = {
  CSV_QUOTE_NOT_CLOSED: 'a quote that is never closed',
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: 'more fields than the header has',
  CSV_RECORD_INCONSISTENT_COLUMNS: 'more fields than the header has',
  CSV_MAX_RECORD_SIZE: `a row over ${RECORD_LIMIT >> 20} MiB`,
  CSV_INVALID_CLOSING_QUOTE: 'text after a closing quote',
}

/** Tab-separated files written by spreadsheets quote fields all the same. */
const unquote = (field: string) =>
  field.length > 1 && field.startsWith('"') && field.endsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field

/** Rows of a file with one JSON object a line. */
export async function* readJsonLines({ path, source, encoding }: TableFile): AsyncGenerator<TableRow> {
  let line = 0
  for await (const text of linesOf(decodeFile(path, encoding, source), source)) {
    line++
    if (text.trim() === '') continue
    const refuse = (reason: string) => fail('DATA_MALFORMED', { source, line, reason })
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw refuse('not a JSON object')
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse('not a JSON object')
    try {
      yield { line, values: asText(value) }
    } catch (error) {
      if (error instanceof RangeError) throw refuse('lists nested too deeply')
      throw error
    }
  }
}

/** Lines without their feeds; throws DATA_MALFORMED for one longer than any record may be. */
export async function* linesOf(pieces: AsyncIterable<string>, source: string): AsyncGenerator<string> {
  let rest = ''
  let line = 1
  for await (const piece of pieces) {
    const parts = piece.split('\n')
    parts[0] = rest + parts[0]
    rest = parts.pop()!
    line += parts.length
    if (rest.length > RECORD_LIMIT)
      throw fail('DATA_MALFORMED', { source, line, reason: `a line over ${RECORD_LIMIT >> 20} MiB` })
    yield* parts
  }
  if (rest) yield rest
}

/** The cells of a row as text: lists and objects as JSON. */
export const asText = (object: object): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, textOf(value)]))

function textOf(value: unknown): string | undefined {
  if (value === null || value === undefined) return undefined
  return typeof value === 'object' && !(value instanceof Date) ? JSON.stringify(value, exactly) : String(value)
}

/** Whole numbers of 64 bits within lists: as numbers, where these hold them. */
function exactly(_: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}
