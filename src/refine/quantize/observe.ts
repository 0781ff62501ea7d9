import { openSession } from '../../engine/session.ts'
import { writeModel } from '../../graph/codec.ts'
import type { GraphProto, ModelProto } from '../../graph/gen/onnx_pb.js'
import { type Feeds, ortFeeds } from '../inputs.ts'
import { telling } from '../teacher.ts'
import { type Calibration, Observer, type Range } from './calibrate.ts'

/** Ranges of the named values of a graph, found by running it on calibration data. */
export async function rangesOf(
  model: ModelProto,
  names: readonly string[],
  feeds: readonly Feeds[],
  how: Calibration,
  threads: number,
): Promise<Map<string, Range>> {
  const graph = model.graph as GraphProto
  const inputs = new Set(graph.input.map(({ name }) => name))
  const outputs = new Set(graph.output.map(({ name }) => name))
  const watched = names.filter((name) => !inputs.has(name) && !outputs.has(name))
  const observers = new Map(names.map((name) => [name, new Observer()]))
  const session = await openSession(writeModel(telling(model, watched)), threads)
  try {
    for (const batch of feeds) {
      const values = await session.run(ortFeeds(batch))
      for (const [name, observer] of observers)
        observer.add((values[name]?.data ?? batch.tensors[name].data) as Float32Array)
    }
  } finally {
    await session.release()
  }
  return new Map([...observers].map(([name, observer]) => [name, observer.range(how)]))
}
