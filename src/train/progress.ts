import type { TrainEvent } from './events.ts'

/** Milliseconds between events that tell how far preparing is. */
const EVERY = 250
type Progress = Extract<TrainEvent, { type: 'progress' }>

/** Runs `work`, and passes on as events what it tells of its progress, at most four times a second. */
export async function* withProgress<T>(
  work: (tell: (phase: Progress['phase'], done: number, total?: number) => void) => Promise<T>,
): AsyncGenerator<TrainEvent, T> {
  let told: Progress | undefined
  let wake = () => {}
  let last = performance.now()
  const result = work((phase, done, total) => {
    if (performance.now() - last < EVERY) return
    last = performance.now()
    told = { type: 'progress', phase, done, ...(total !== undefined && { total }) }
    wake()
  })
  const end = result.then(
    () => true,
    () => true,
  )
  for (let ended = false; !ended; ) {
    const woken = new Promise<false>((resolve) => {
      wake = () => resolve(false)
    })
    ended = await Promise.race([end, woken])
    if (told) yield told
    told = undefined
  }
  return result
}
