import { Sketch } from '../../drift/sketch.ts'
import { tensorRows } from '../measured.ts'
import { type EngineAnswer, type EngineRequest, monotonic } from '../messages.ts'
import type { OpenRunner } from '../runner.ts'
import { failure, fromOrt, openGraph, toOrt } from '../session.ts'

/** Plain graphs are run request by request: nothing says that their rows are independent. */
export const tensorRunner: OpenRunner = async (manifest, read, options) => {
  const { onWindow } = options
  const session = await openGraph(read, options)
  const sketch = onWindow && manifest.reference && Sketch.ofMeasures(manifest.reference)
  let batches = 0
  async function* run(requests: EngineRequest[]): AsyncGenerator<EngineAnswer> {
    for (const request of requests) {
      if (request.kind !== 'tensors' || request.withdrawn) continue
      const started = monotonic()
      try {
        const feeds = Object.fromEntries(Object.entries(request.inputs).map(([name, tensor]) => [name, toOrt(tensor)]))
        const ready = monotonic()
        const results = await session.run(feeds)
        const done = monotonic()
        batches++
        const outputs = Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, fromOrt(tensor)]))
        if (sketch && !request.canary) {
          for (const row of tensorRows(manifest, request.inputs, outputs)) {
            const window = sketch.add(row)
            if (window) onWindow(window)
          }
        }
        const timings = {
          queue: started - request.at,
          pre: ready - started,
          run: done - ready,
          post: monotonic() - done,
          batch: 1,
        }
        yield { id: request.id, output: { kind: 'tensors', outputs }, timings }
      } catch (error) {
        yield failure(request.id, error)
      }
    }
  }
  return {
    get batches() {
      return batches
    },
    run,
  }
}
