import { createRunner } from '../../src/engine/runner.ts'
import type { Bundle } from './server.ts'
import { texts } from './texts.ts'

const MILLISECONDS = 1500

/**
 * The engine's own runner without processes or HTTP, with the threads that the engine would have: a function that tokenises
 * and runs so many texts at a time, and tells how many a second.
 */
export async function bareLoop({ manifest, files }: Bundle): Promise<(size: number) => Promise<number>> {
  const runner = await createRunner(manifest, (name) => files[name], { tokenBudget: 8192 })
  return async (size) => {
    const requests = Array.from({ length: size }, (_, id) => ({
      id,
      at: 0,
      kind: 'texts' as const,
      texts: [texts[id]],
    }))
    let done = 0
    const began = performance.now()
    while (performance.now() - began < MILLISECONDS)
      for await (const answer of runner.run(requests)) if ('output' in answer) done++
    return done / ((performance.now() - began) / 1000)
  }
}
