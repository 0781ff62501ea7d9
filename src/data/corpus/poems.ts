/** Poems of a file of `chinese-poetry`: title in brackets and author, then the lines. What has gaps (□) is left out. */
export function poemsOf(json: string): string[] {
  const list: unknown = JSON.parse(json)
  if (!Array.isArray(list)) return []
  return list.flatMap((poem: { title?: unknown; author?: unknown; paragraphs?: unknown; rhythmic?: unknown }) => {
    const title = poem.title ?? poem.rhythmic
    const lines = poem.paragraphs
    if (typeof title !== 'string' || !Array.isArray(lines) || lines.length === 0) return []
    const text = `《${title}》${typeof poem.author === 'string' ? poem.author : ''}\n${lines.join('\n')}\n`
    return /[□{}[\]（）〖〗〈〉]/.test(text) ? [] : [text]
  })
}
