import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { FAILED, type Job, type Shared, STARTED, Way } from './way.ts'

// A thread that does one way's share of every training step. Jobs come as messages, announced by STARTED: so this
// thread sleeps without an event loop between a step's meeting points.
const { shared, index } = workerData as { shared: Shared; index: number }
const port = parentPort!
try {
  const way = await Way.create(shared, index)
  port.postMessage('ready')
  for (let started = 0; ; ) {
    Atomics.wait(shared.control, STARTED, started)
    started = Atomics.load(shared.control, STARTED)
    const job = receiveMessageOnPort(port)?.message as Job | undefined
    if (job) await way.work(job)
  }
} catch (error) {
  Atomics.store(shared.control, FAILED, 1)
  Atomics.notify(shared.control, 0)
  throw error
}
