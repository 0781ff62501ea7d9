import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Athanor } from '../client/src/index.ts'
import { generate, type Load } from './lib/generate.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description =
  'what watching costs: requests a second with metrics, history, logs, labels and drift, and without'

const ROUNDS = Number(process.env.ROUNDS ?? 5)
const SECONDS = 4
const CLIENTS = 32
const modes = ['on', 'off'] as const

export async function run(log: (line: string) => void): Promise<Result[]> {
  const servers = await Promise.all(modes.map(start))
  const loads = { on: [] as Load[], off: [] as Load[] }
  /** Processor time of server and engine for each request, in microseconds: says something on a busy machine too. */
  const costs = { on: [] as number[], off: [] as number[] }
  try {
    for (const { url } of servers) await generate(`${url}/api/models/text/predict`, CLIENTS, 2) // warm-up
    for (let round = 0; round < ROUNDS; round++) {
      for (const mode of round % 2 ? modes.toReversed() : modes) {
        const { url } = servers[modes.indexOf(mode)]
        const before = await used(url)
        const load = await generate(`${url}/api/models/text/predict`, CLIENTS, SECONDS)
        loads[mode].push(load)
        costs[mode].push((1e6 * ((await used(url)) - before)) / load.requests)
      }
      log(
        `round ${round + 1} of ${ROUNDS}: ${modes.map((mode) => loads[mode].at(-1)!.perSecond.toFixed(0)).join(' against ')}`,
      )
    }
  } finally {
    await Promise.all(servers.map(({ close }) => close()))
  }
  const [on, off] = modes.map((mode) => median(loads[mode].map(({ perSecond }) => perSecond)))
  // each round's two, so that what else the machine does meanwhile concerns both
  const lost = median(loads.on.map(({ perSecond }, i) => 1 - perSecond / loads.off[i].perSecond))
  return [
    { measure: `${CLIENTS} clients, watched`, value: on, unit: 'requests/s', floor: off, ratio: on / off },
    { measure: `${CLIENTS} clients, unwatched`, value: off, unit: 'requests/s' },
    { measure: 'throughput that watching takes (goal 3)', value: 100 * lost, unit: '%' },
    ...modes.map((mode) => ({
      measure: `processor time a request, ${mode === 'on' ? 'watched' : 'unwatched'}`,
      value: median(costs[mode]),
      unit: 'us',
    })),
    {
      measure: 'failed',
      value: [...loads.on, ...loads.off].reduce((sum, { failed }) => sum + failed, 0),
      unit: 'requests',
    },
  ]
}

/** Processor time that a server and its engines have used, in seconds. */
async function used(url: string): Promise<number> {
  const client = new Athanor({ url })
  const [{ server }, engines] = await Promise.all([client.resources(), client.engines()])
  return engines.reduce((sum, { cpuSeconds = 0 }) => sum + cpuSeconds, server.cpuSeconds)
}

async function start(mode: (typeof modes)[number]) {
  const home = mkdtempSync(join(tmpdir(), `athanor-watch-${mode}-`))
  const script = fileURLToPath(new URL('./lib/watched.ts', import.meta.url))
  const child = spawn(process.execPath, [script, mode, home], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return {
    url: (JSON.parse(String(line)) as { url: string }).url,
    async close() {
      child.kill('SIGTERM')
      await once(child, 'exit')
      rmSync(home, { recursive: true, force: true })
    },
  }
}
