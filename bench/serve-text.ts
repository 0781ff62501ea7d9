import { spawn } from 'node:child_process'
import { Athanor } from '../client/src/index.ts'
import { bareLoop } from './lib/bare-loop.ts'
import { generate, type Load } from './lib/generate.ts'
import { benchClassifier, startServer } from './lib/server.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description =
  'classifying 64-character texts over HTTP against the same graph in a bare loop; /health meanwhile'

const ROUNDS = 3
const SECONDS = 4

export async function run(log: (line: string) => void): Promise<Result[]> {
  const server = await startServer()
  const results: Result[] = []
  try {
    await new Athanor({ url: server.url }).models.load('text')
    const predict = `${server.url}/api/models/text/predict`
    await generate(predict, 8, 2) // warm-up
    const clients = [1, 8, 64]
    const loads = new Map(clients.map((count) => [count, [] as Load[]]))
    const floors = { single: [] as number[], batched: [] as number[], latency: [] as number[] }
    const bare = await bareLoop(await benchClassifier())
    await bare(1) // warm-up
    for (let round = 0; round < ROUNDS; round++) {
      const single = await bare(1)
      floors.single.push(single)
      floors.batched.push(await bare(64))
      floors.latency.push(1000 / single)
      for (const count of round % 2 ? clients.toReversed() : clients)
        loads.get(count)!.push(await generate(predict, count, SECONDS))
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    const [single, batched] = [median(floors.single), median(floors.batched)]
    results.push({ measure: 'bare loop, one text a run', value: single, unit: 'texts/s' })
    results.push({ measure: 'bare loop, 64 texts a run', value: batched, unit: 'texts/s' })
    for (const [count, list] of loads) {
      const perSecond = median(list.map((load) => load.perSecond))
      const floor = count === 1 ? single : batched
      results.push({
        measure: `${count} clients: requests`,
        value: perSecond,
        unit: '1/s',
        floor,
        ratio: perSecond / floor,
      })
      results.push({ measure: `${count} clients: p50`, value: median(list.map((load) => load.p50)), unit: 'ms' })
      results.push({ measure: `${count} clients: p99`, value: median(list.map((load) => load.p99)), unit: 'ms' })
      results.push({
        measure: `${count} clients: failed`,
        value: list.reduce((sum, load) => sum + load.failed, 0),
        unit: 'requests',
      })
    }
    const added = median(loads.get(1)!.map((load, i) => load.p50 - floors.latency[i]))
    results.push({ measure: 'added latency p50, one client (goal 0.5)', value: added, unit: 'ms' })

    // two engines' worth of work and a spinning neighbour keep both cores busy
    const spinner = spawn(process.execPath, ['-e', 'for (;;);'])
    const [, health] = await Promise.all([generate(predict, 64, 6), generate(`${server.url}/health`, 2, 6)])
    spinner.kill('SIGKILL')
    results.push({ measure: '/health p99, both cores busy (goal 10)', value: health.p99, unit: 'ms' })
    results.push({ measure: '/health p50, both cores busy', value: health.p50, unit: 'ms' })
  } finally {
    await server.close()
  }
  return results
}
