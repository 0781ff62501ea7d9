import { spawn } from 'node:child_process'
import { Athanor } from '../client/src/index.ts'
import { createRunner } from '../src/engine/runner.ts'
import { generate, type Load } from './lib/generate.ts'
import { benchClassifier, startServer } from './lib/server.ts'
import { median } from './lib/statistics.ts'
import { texts } from './lib/texts.ts'
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
    for (let round = 0; round < ROUNDS; round++) {
      const floor = await bareLoop()
      floors.single.push(floor.single)
      floors.batched.push(floor.batched)
      floors.latency.push(1000 / floor.single)
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

/** The engine's own runner without processes or HTTP: tokenise and run, one text or 64 at a time. */
async function bareLoop() {
  const { manifest, files } = await benchClassifier()
  const runner = await createRunner(manifest, (name) => files[name as keyof typeof files], {
    threads: 1,
    tokenBudget: 8192,
  })
  const measure = async (size: number) => {
    const requests = Array.from({ length: size }, (_, id) => ({
      id,
      at: 0,
      kind: 'texts' as const,
      texts: [texts[id]],
    }))
    let done = 0
    const begin = performance.now()
    while (performance.now() - begin < 1500) {
      for await (const answer of runner.run(requests)) if ('output' in answer) done++
    }
    return done / ((performance.now() - begin) / 1000)
  }
  await measure(1)
  return { single: await measure(1), batched: await measure(64) }
}
