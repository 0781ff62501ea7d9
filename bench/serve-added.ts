import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Athanor } from '../client/src/index.ts'
import { createRunner } from '../src/engine/runner.ts'
import { tinyClassifier } from '../src/testing/tiny.ts'
import { generate, type Load } from './lib/generate.ts'
import { startServer } from './lib/server.ts'
import { median, quantile } from './lib/statistics.ts'
import { texts } from './lib/texts.ts'
import type { Result } from './main.ts'

export const description = 'latency the platform adds to a trivial model at 500 requests/s that come as they please'

const [RATE, SECONDS, ROUNDS, WARM_UP] = [500, 8, 3, 20]

export async function run(log: (line: string) => void): Promise<Result[]> {
  const { manifest, files } = await tinyClassifier()
  const server = await startServer({ model: [{ manifest, files }] })
  const bare = await startBare()
  try {
    await new Athanor({ url: server.url }).models.load('text')
    const url = `${server.url}/api/models/text/predict`
    // both sides as they are after a while: the first ten thousand requests meet code that is not compiled yet
    for (const side of [url, bare.url]) await generate(side, RATE, WARM_UP, undefined, 'open')
    const runner = await createRunner(manifest, (name) => files[name as keyof typeof files], {
      threads: 1,
      tokenBudget: 8192,
    })
    const loads: Load[] = []
    const bareLoads: Load[] = []
    const floors: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const took: number[] = []
      for (let n = 0; n < 2000; n++) {
        const began = performance.now()
        for await (const _ of runner.run([{ id: 1, at: 0, kind: 'texts', texts: [texts[n % texts.length]] }]));
        took.push(performance.now() - began)
      }
      floors.push(quantile(took, 0.5))
      loads.push(await generate(url, RATE, SECONDS, undefined, 'open'))
      bareLoads.push(await generate(bare.url, RATE, SECONDS, undefined, 'open'))
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    const floor = median(floors)
    const [p50, p99] = quantiles(loads)
    const [bare50, bare99] = quantiles(bareLoads)
    return [
      { measure: 'the model itself, p50', value: floor, unit: 'ms' },
      { measure: 'request, p50', value: p50, unit: 'ms' },
      { measure: 'request, p99', value: p99, unit: 'ms' },
      { measure: 'node:http and a child process that only answers, p50', value: bare50, unit: 'ms' },
      { measure: 'node:http and a child process that only answers, p99', value: bare99, unit: 'ms' },
      { measure: 'added p50 (goal 0.35)', value: p50 - floor, unit: 'ms' },
      { measure: 'added p99 (goal 2)', value: p99 - floor, unit: 'ms' },
      { measure: 'answered', value: median(loads.map((load) => load.perSecond)), unit: '1/s' },
      { measure: 'failed or wrong', value: loads.reduce((sum, load) => sum + load.failed, 0), unit: 'requests' },
    ]
  } finally {
    bare.close()
    await server.close()
  }
}

const quantiles = (loads: readonly Load[]) => [
  median(loads.map((load) => load.p50)),
  median(loads.map((load) => load.p99)),
]

async function startBare() {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./lib/bare.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return { url: `http://127.0.0.1:${Number(port)}/`, close: () => child.kill('SIGKILL') }
}
