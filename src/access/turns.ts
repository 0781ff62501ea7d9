/** The same work, one at a time in the order it was asked for: what was read earlier never replaces what was read later. */
export function inTurn(work: () => Promise<void>): () => Promise<void> {
  let last: Promise<void> = Promise.resolve()
  return () => {
    last = last.then(work, work)
    return last
  }
}
