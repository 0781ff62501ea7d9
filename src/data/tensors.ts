import { extname } from 'node:path'
import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import { readParquet } from './apart/apart.ts'
import { roomFor } from './keys.ts'
import { assertHeld } from './records.ts'
import { readJsonLines, type TableRow } from './tables.ts'

/** A column of numbers and what one row of it looks like; -1 for a size that the data decides, at most one. */
export interface TensorColumn {
  name: string
  dims: readonly number[]
}

/** Rows as numbers: of each column, row after row. */
export interface TensorRows {
  rows: number
  /** The columns' dimensions, all known. */
  dims: Record<string, number[]>
  columns: Record<string, Float64Array>
  /** Texts of the label column, if one was asked for. */
  labels: string[]
}

const ELEMENT_LIMIT = 2 ** 27

/**
 * Reads columns of numbers (a number, or a list of any depth in row-major order) from JSONL or Parquet. Throws
 * DATA_FORMAT_UNKNOWN, DATA_TOO_LARGE, COLUMN_UNKNOWN, LABEL_MISSING, DATA_MALFORMED naming the line, DATA_EMPTY.
 */
export async function readTensors(
  file: { path: string; source: string },
  wanted: readonly TensorColumn[],
  label?: string,
): Promise<TensorRows> {
  const { source } = file
  await assertHeld({ path: file.path, name: source })
  const extension = extname(source).toLowerCase()
  const table = { ...file, encoding: 'utf-8' }
  const read: AsyncIterable<TableRow> | undefined = /^\.(jsonl|ndjson)$/.test(extension)
    ? readJsonLines(table)
    : extension === '.parquet'
      ? readParquet(table)
      : undefined
  if (!read) throw fail('DATA_FORMAT_UNKNOWN', { source })
  const result: TensorRows = { rows: 0, dims: {}, columns: {}, labels: [] }
  for (const { name } of wanted) result.columns[name] = new Float64Array(0)
  let elements = 0
  for await (const { line, values } of read) {
    for (const { name, dims } of wanted) {
      if (!(name in values) && result.rows === 0) {
        const columns = Object.keys(values)
        const details = { column: name, source, columns: columns.join(', ').slice(0, 300) }
        throw fail('COLUMN_UNKNOWN', details, { suggestion: suggest(name, columns) })
      }
      const numbers = numbersOf(values[name], source, line, name)
      result.dims[name] ??= sized(dims, numbers.length, source, line, name)
      const count = result.dims[name].reduce((a, b) => a * b, 1)
      if (numbers.length !== count) {
        const reason = `"${name}" has ${numbers.length} numbers where ${count} are expected for [${result.dims[name]}]`
        throw fail('DATA_MALFORMED', { source, line, reason })
      }
      elements += count
      if (elements > ELEMENT_LIMIT)
        throw fail('DATA_MALFORMED', { source, line, reason: `over ${ELEMENT_LIMIT} numbers in all` })
      const column = roomFor(result.columns[name], (result.rows + 1) * count)
      column.set(numbers, result.rows * count)
      result.columns[name] = column
    }
    if (label !== undefined) {
      const text = values[label]?.trim()
      if (!text) throw fail('LABEL_MISSING', { source, line })
      result.labels.push(text)
    }
    result.rows++
  }
  if (result.rows === 0) throw fail('DATA_EMPTY', { source })
  for (const [name, dims] of Object.entries(result.dims))
    result.columns[name] = result.columns[name].subarray(
      0,
      dims.reduce((a, b) => a * b, result.rows),
    )
  return result
}

/** A number, or a list as JSON or with commas between its elements. */
function numbersOf(text: string | undefined, source: string, line: number, name: string): number[] {
  const list = (text ?? '').replace(/[[\]]/g, ' ')
  const values = list.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  const wrong = values.findIndex((value) => !Number.isFinite(value))
  if (wrong < 0) return values
  throw fail('DATA_MALFORMED', { source, line, reason: `"${name}" has no number at place ${wrong + 1}` })
}

function sized(dims: readonly number[], count: number, source: string, line: number, name: string): number[] {
  const known = dims.filter((dim) => dim >= 0).reduce((a, b) => a * b, 1)
  const open = dims.filter((dim) => dim < 0).length
  if (open > 1 || (open === 1 && count % known !== 0)) {
    const reason = `${count} numbers of "${name}" do not make a tensor of [${dims.map((dim) => (dim < 0 ? '?' : dim))}]`
    throw fail('DATA_MALFORMED', { source, line, reason })
  }
  return dims.map((dim) => (dim < 0 ? count / known : dim))
}
