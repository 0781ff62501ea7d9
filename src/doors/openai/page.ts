/** A list in OpenAI's form: what comes after the entry `after`, at most `limit`. */
export function page<T extends { id: string }>(
  all: readonly T[],
  { after, limit }: { after?: string | undefined; limit: number },
) {
  const from = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1
  const data = all.slice(from, from + limit)
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + limit < all.length,
  }
}
