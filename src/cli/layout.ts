import { createRequire } from 'node:module'
import type stringWidth from 'string-width'

/** Loaded when it is needed alone: a server that prints a line or two starts sooner without. */
const require = createRequire(import.meta.url)

/** Columns that a text takes on a terminal: wide characters two, colours none. */
export const widthOf = (text: string) => (require('string-width') as { default: typeof stringWidth }).default(text)

export const pad = (text: string, width: number) => text + ' '.repeat(Math.max(0, width - widthOf(text)))

/**
 * A line as lines of at most `width` columns, broken at spaces; those after the first stand two columns further in, or
 * `hang`. A word that is longer stays whole, so that it can be copied.
 */
export function wrap(line: string, width: number, hang = /^ */.exec(line)![0].length + 2): string[] {
  if (widthOf(line) <= width) return [line]
  const lines: string[] = []
  let current = ''
  for (const piece of line.split(/(?<=\S)(?= )/)) {
    if (current.trim() !== '' && widthOf(current + piece) > width) {
      lines.push(current)
      current = ' '.repeat(hang) + piece.trimStart()
    } else current += piece
  }
  return [...lines, current]
}

const GAP = 2
/** A column is not made narrower than its title and its words, as far as these are no longer than this. */
const WORD = 24

/**
 * A table without borders in `width` columns: columns in which no row has anything are left out, wide ones are broken into
 * lines; where that is not enough, each row becomes a block of titles and values.
 */
export function tableLines(
  titles: readonly string[],
  cells: readonly (readonly string[])[],
  width: number,
  dim: (text: string) => string,
): string[] {
  const filled = titles.map((_, i) => cells.length === 0 || cells.some((row) => row[i]))
  const [head, ...rows] = [titles, ...cells].map((row) => row.filter((_, i) => filled[i]))
  const natural = head.map((title, i) => Math.max(widthOf(title), ...rows.map((row) => widthOf(row[i] ?? ''))))
  const words = head.map((title, i) =>
    Math.max(
      widthOf(title),
      ...rows.flatMap((row) => (row[i] ?? '').split(' ').map((word) => Math.min(widthOf(word), WORD))),
    ),
  )
  const widths = narrowed(natural, words, width)
  if (!widths) return blocks(head, rows, width, dim)
  const lineOf = (cells: readonly string[]) =>
    cells
      .map((cell, i) => pad(cell, widths[i]))
      .join(' '.repeat(GAP))
      .trimEnd()
  const linesOf = (row: readonly string[]) => {
    const cells = head.map((_, i) => wrap(row[i] ?? '', widths[i], 0).flatMap((line) => cut(line, widths[i])))
    const height = Math.max(...cells.map((lines) => lines.length))
    return Array.from({ length: height }, (_, at) => lineOf(cells.map((lines) => lines[at] ?? '')))
  }
  return [dim(lineOf(head)), ...rows.flatMap(linesOf)]
}

/** A word in pieces of at most `width` columns. */
function cut(word: string, width: number): string[] {
  const pieces = ['']
  if (widthOf(word) <= width) return [word]
  for (const { segment } of new Intl.Segmenter().segment(word)) {
    if (widthOf(pieces.at(-1)! + segment) > width) pieces.push('')
    pieces[pieces.length - 1] += segment
  }
  return pieces
}

/** Widths that fit, the widest made narrower first; undefined where the least that is readable takes too much. */
function narrowed(natural: readonly number[], least: readonly number[], width: number): number[] | undefined {
  const gaps = GAP * (natural.length - 1)
  const widths = [...natural]
  let over = sum(widths) + gaps - width
  if (over <= 0) return widths
  if (sum(least) + gaps > width) return undefined
  for (; over > 0; over--) {
    const room = widths.map((columns, i) => (columns > least[i] ? columns : 0))
    widths[room.indexOf(Math.max(...room))]--
  }
  return widths
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

function blocks(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number,
  dim: (text: string) => string,
): string[] {
  const titles = Math.max(...head.map(widthOf)) + GAP
  return rows.flatMap((row, at) => [
    ...(at > 0 ? [''] : []),
    ...row.flatMap((cell, i) =>
      cell === '' ? [] : wrap(dim(pad(head[i], titles)) + cell, width, titles).map((line) => line.trimEnd()),
    ),
  ])
}
