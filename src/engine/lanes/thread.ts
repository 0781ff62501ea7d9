import { parentPort, workerData } from 'node:worker_threads'
import ort from '../../base/onnxruntime.ts'
import { createSession, type SessionOptions } from '../create-session.ts'
import type { LaneAnswer, LaneRun } from './lanes.ts'

// A thread that runs a graph beside others that run the same one.
const { graph, ...options } = workerData as { graph: Uint8Array } & SessionOptions
const port = parentPort!
const session = await createSession(graph, options)
port.postMessage('open')
port.on('message', async ({ feeds, fetches }: LaneRun) => {
  const inputs = feeds.map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)] as const)
  try {
    const outputs = await session.run(Object.fromEntries(inputs), [...fetches])
    const tensors = Object.entries(outputs).map(([name, { dims, data }]) => [name, { dims, data }] as const)
    port.postMessage({ outputs: Object.fromEntries(tensors) } satisfies LaneAnswer)
  } catch (error) {
    port.postMessage({ error: String((error as Error)?.message ?? error) } satisfies LaneAnswer)
  }
})
