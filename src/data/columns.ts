import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'

/** Column names that are recognised without being told, most telling first. */
const known = {
  text: 'text text_a sentence content review comment title body message tweet document utterance query 文本 内容 评论 句子 标题 正文 文字 問題 內容 評論'.split(
    ' ',
  ),
  label:
    'label labels category class target cat sentiment topic language lang tag y 标签 类别 分类 情感 標籤 類別 分類'.split(
      ' ',
    ),
} as const
type Role = keyof typeof known

/** The columns of a table by what they hold; `labels` where each of several columns stands for a label of its own. */
export interface Columns {
  text: string
  label?: string
  labels?: string[]
  /** What stands between several labels in the label column. */
  separator?: string
  group?: string
  time?: string
}

/**
 * Which columns hold text, label, group and time: as told (group and time only then), else by name, else the two columns of a two-column table. Throws
 * COLUMN_UNKNOWN (with the nearest name) or COLUMN_AMBIGUOUS.
 */
export function chooseColumns(columns: readonly string[], asked: Partial<Columns>, source: string): Columns {
  const list = columns.join(', ').slice(0, 500)
  const existing = (name: string): string => {
    if (columns.includes(name)) return name
    throw fail('COLUMN_UNKNOWN', { column: name, source, columns: list }, { suggestion: suggest(name, columns) })
  }
  const choose = (role: Role): string | undefined => {
    const name = asked[role]
    if (name !== undefined) return existing(name)
    return known[role]
      .map((candidate) => columns.find((column) => column.trim().toLowerCase() === candidate))
      .find(Boolean)
  }
  const labels = asked.labels?.map(existing)
  let [text, label] = [choose('text'), labels ? undefined : choose('label')]
  if (columns.length === 2 && !labels) {
    text ??= columns.find((column) => column !== label)
    label ??= columns.find((column) => column !== text)
  }
  if (text === undefined || text === label) throw fail('COLUMN_AMBIGUOUS', { source, role: 'text', columns: list })
  return {
    text,
    ...(label !== undefined && { label }),
    ...(labels && { labels }),
    ...(asked.separator !== undefined && { separator: asked.separator }),
    ...(asked.group !== undefined && { group: existing(asked.group) }),
    ...(asked.time !== undefined && { time: existing(asked.time) }),
  }
}
