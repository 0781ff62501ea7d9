import { fail } from '../base/errors.ts'
import type { Columns } from './columns.ts'
import type { Row } from './dataset.ts'
import type { TableRow } from './tables.ts'

const yes = new Set(['1', '1.0', 'true', 'yes', 'y', 'x', '是'])
const no = new Set(['', '0', '0.0', 'false', 'no', 'n', '否'])

/** How a table's rows become examples. Throws DATA_MALFORMED for a time or a yes/no that cannot be read. */
export function rowReader(columns: Columns, source: string) {
  const { separator } = columns
  return ({ line, values }: TableRow): Row => {
    const at = (column: string | undefined) => (column === undefined ? undefined : values[column])
    const bad = (reason: string) => fail('DATA_MALFORMED', { source, line, reason })
    const row: Row = { text: at(columns.text) ?? '', line }
    const [label, group, time] = [at(columns.label)?.trim(), at(columns.group), at(columns.time)]
    if (label) row.label = label
    if (separator !== undefined) row.labels = severalLabels(label ?? '', separator)
    if (columns.labels) {
      row.labels = columns.labels.filter((column) => {
        const value = (values[column] ?? '').trim().toLowerCase()
        if (yes.has(value)) return true
        if (no.has(value)) return false
        throw bad(`"${value.slice(0, 40)}" in column ${column} is neither 0 nor 1`)
      })
    }
    if (group) row.group = group
    if (columns.time !== undefined) {
      row.time = timeOf(time ?? '')
      if (Number.isNaN(row.time)) throw bad(`"${(time ?? '').slice(0, 40)}" is no time`)
    }
    return row
  }
}

/** Labels between separators; a JSON list of them is read as such. */
function severalLabels(value: string, separator: string): string[] {
  if (value.startsWith('[') && value.endsWith(']')) {
    try {
      return (JSON.parse(value) as unknown[]).map(String)
    } catch {
      // not JSON after all
    }
  }
  return [...new Set(value.split(separator).map((label) => label.trim()))].filter(Boolean)
}

/** A number as it is (seconds, years, 20240131), else a date as JavaScript reads it; NaN for anything else. */
const timeOf = (value: string): number => {
  const text = value.trim()
  return text === '' ? Number.NaN : Number.isNaN(Number(text)) ? Date.parse(text) : Number(text)
}
