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

const ROUNDS = Number(process.env.ROUNDS ?? 80)
const SECONDS = 1
/** Rounds that the same engines answer. */
const SAME = 10
const CLIENTS = 32
const modes = ['on', 'off'] as const

/**
 * One server, whose watching is switched: of two servers one is always luckier with its code and memory than the other. For
 * the same reason engines are fresh now and then.
 */
export async function run(log: (line: string) => void): Promise<Result[]> {
  const { url, set, close } = await start()
  const client = new Athanor({ url })
  const loads = { on: [] as Load[], off: [] as Load[] }
  /** Processor time of server and engines for each request, in microseconds: says something on a busy machine too. */
  const costs = { on: [] as number[], off: [] as number[] }
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const mode of round % SAME === 0 ? modes : []) {
        if (round > 0) await client.models.unload(mode)
        await generate(`${url}/api/models/${mode}/predict`, CLIENTS, 1) // warm-up
      }
      for (const mode of round % 2 ? modes.toReversed() : modes) {
        set(mode)
        const before = await used(client)
        const load = await generate(`${url}/api/models/${mode}/predict`, CLIENTS, SECONDS)
        loads[mode].push(load)
        costs[mode].push((1e6 * ((await used(client)) - before)) / load.requests)
      }
      log(
        `round ${round + 1} of ${ROUNDS}: ${modes.map((mode) => loads[mode].at(-1)!.perSecond.toFixed(0)).join(' against ')}`,
      )
    }
  } finally {
    await close()
  }
  const [on, off] = modes.map((mode) => median(loads[mode].map(({ perSecond }) => perSecond)))
  // each round's two, so that what else the machine does meanwhile concerns both
  const lost = median(loads.on.map(({ perSecond }, i) => 1 - perSecond / loads.off[i].perSecond))
  const added = median(costs.on.map((cost, i) => cost - costs.off[i]))
  const cost = median(costs.off)
  return [
    { measure: `${CLIENTS} clients, watched`, value: on, unit: 'requests/s', floor: off, ratio: on / off },
    { measure: `${CLIENTS} clients, unwatched`, value: off, unit: 'requests/s' },
    { measure: 'throughput that watching takes (goal 3)', value: 100 * lost, unit: '%' },
    { measure: 'processor time a request, unwatched', value: cost, unit: 'us' },
    { measure: 'processor time that watching adds', value: added, unit: 'us', floor: cost, ratio: added / cost },
    {
      measure: 'failed',
      value: [...loads.on, ...loads.off].reduce((sum, { failed }) => sum + failed, 0),
      unit: 'requests',
    },
  ]
}

/** Processor time that a server and its engines have used, in seconds. */
async function used(client: Athanor): Promise<number> {
  const [{ server }, engines] = await Promise.all([client.resources(), client.engines()])
  return engines.reduce((sum, { cpuSeconds = 0 }) => sum + cpuSeconds, server.cpuSeconds)
}

async function start() {
  const home = mkdtempSync(join(tmpdir(), 'athanor-watch-'))
  const script = fileURLToPath(new URL('./lib/watched.ts', import.meta.url))
  const child = spawn(process.execPath, [script, home], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return {
    url: (JSON.parse(String(line)) as { url: string }).url,
    set: (mode: (typeof modes)[number]) => child.send(mode),
    async close() {
      child.kill('SIGTERM')
      await once(child, 'exit')
      rmSync(home, { recursive: true, force: true })
    },
  }
}
