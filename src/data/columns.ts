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
  group: [] as string[],
} as const
type Role = keyof typeof known
export type Columns = { text: string; label?: string; group?: string }

/**
 * Which columns hold text, label and group: as told, else by name, else the two columns of a two-column table. Throws
 * COLUMN_UNKNOWN (with the nearest name) or COLUMN_AMBIGUOUS.
 */
export function chooseColumns(columns: readonly string[], asked: Partial<Columns>, source: string): Columns {
  const list = columns.join(', ').slice(0, 500)
  const choose = (role: Role): string | undefined => {
    const name = asked[role]
    if (name !== undefined) {
      if (columns.includes(name)) return name
      throw fail('COLUMN_UNKNOWN', { column: name, source, columns: list }, { suggestion: suggest(name, columns) })
    }
    return known[role]
      .map((candidate) => columns.find((column) => column.trim().toLowerCase() === candidate))
      .find(Boolean)
  }
  let [text, label] = [choose('text'), choose('label')]
  if (columns.length === 2) {
    text ??= columns.find((column) => column !== label)
    label ??= columns.find((column) => column !== text)
  }
  if (text === undefined || text === label) throw fail('COLUMN_AMBIGUOUS', { source, role: 'text', columns: list })
  const group = choose('group')
  return { text, ...(label !== undefined && { label }), ...(group !== undefined && { group }) }
}
