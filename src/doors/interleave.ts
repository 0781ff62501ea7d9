interface Source<T> {
  next(): Promise<IteratorResult<T, undefined>>
  return(): Promise<unknown>
}

/** Items of several sources as they come, each with the index of its source; an error of one ends all. */
export async function* interleave<T>(
  sources: readonly Source<T>[],
): AsyncGenerator<{ index: number; item: T }, undefined> {
  const next = (index: number) => sources[index].next().then((result) => ({ index, result }))
  const open = new Map(sources.map((_, index) => [index, next(index)]))
  for (const waiting of open.values()) waiting.catch(() => undefined)
  try {
    while (open.size > 0) {
      const { index, result } = await Promise.race(open.values())
      if (result.done) {
        open.delete(index)
        continue
      }
      const following = next(index)
      following.catch(() => undefined)
      open.set(index, following)
      yield { index, item: result.value }
    }
  } finally {
    for (const source of sources) void source.return().catch(() => undefined)
  }
  return undefined
}
