import { Athanor, type Ranked } from '../client/src/index.ts'
import { tinyClassifier } from '../src/testing/tiny.ts'
import { startServer } from './lib/server.ts'
import { median, quantile } from './lib/statistics.ts'
import { texts } from './lib/texts.ts'
import type { Result } from './main.ts'

export const description = 'a deployment changes its version under load: failed requests, answers that mix versions'

const SWAPS = Number(process.env.SWAPS ?? 100)
const CLIENTS = 8

export async function run(log: (line: string) => void): Promise<Result[]> {
  const server = await startServer({ model: [await tinyClassifier(), await tinyClassifier({ hidden: 12, width: 6 })] })
  const client = new Athanor({ url: server.url, retries: 0 })
  const asked = texts.slice(0, 4)
  try {
    const said: Ranked[][][] = []
    for (const version of [1, 2]) said.push(await client.predictAll(`text@${version}`, asked))
    const isOf = (answer: Ranked[][], version: number) =>
      answer.every((row, r) =>
        row.every((one) => {
          const known = said[version - 1][r].find(({ label }) => label === one.label)
          return known !== undefined && Math.abs(known.score - one.score) < 1e-5
        }),
      )
    await client.deployments.deploy('text', { version: 1 })
    const times: number[] = []
    let [failed, mixed, on] = [0, 0, true]
    const asking = Array.from({ length: CLIENTS }, async () => {
      while (on) {
        const began = performance.now()
        try {
          const { outputs, version } = await client.predictDetailed('text', asked)
          if (!isOf(outputs, version) || isOf(outputs, 3 - version)) mixed++
          times.push(performance.now() - began)
        } catch (error) {
          failed++
          log(String(error))
        }
      }
    })
    const took: number[] = []
    for (let swap = 0; swap < SWAPS; swap++) {
      const [next, before] = swap % 2 === 0 ? [2, 1] : [1, 2]
      const began = performance.now()
      await client.deployments.deploy('text', { version: next })
      took.push(performance.now() - began)
      await client.models.unload(`text@${before}`) // so that every change starts an engine
      if ((swap + 1) % 20 === 0) log(`${swap + 1} changes`)
    }
    on = false
    await Promise.all(asking)
    return [
      { measure: 'changes of version, each with a new engine', value: SWAPS, unit: '' },
      { measure: 'requests answered meanwhile', value: times.length, unit: 'requests' },
      { measure: 'failed', value: failed, unit: 'requests' },
      { measure: 'answers that are not wholly of one version', value: mixed, unit: 'requests' },
      { measure: 'start, warm-up and change, median', value: median(took), unit: 'ms' },
      { measure: 'request p50', value: quantile(times, 0.5), unit: 'ms' },
      { measure: 'request p99', value: quantile(times, 0.99), unit: 'ms' },
    ]
  } finally {
    await server.close()
  }
}
