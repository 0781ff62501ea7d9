import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Agent, fetch } from 'undici'
import { Athanor } from '../client/src/index.ts'
import { Registry } from '../src/registry/registry.ts'
import { openStore } from '../src/store/store.ts'
import { homeWithKeys } from '../src/testing/tenants.ts'
import { benchClassifier } from './lib/server.ts'
import type { Result } from './main.ts'

export const description = 'requests at once, each on a connection of its own, through seven doors against a budget'

const REQUESTS = Number(process.env.REQUESTS ?? 10_000)
const BUDGET = 2_500
/** Requests at a time of those that ask once more for what the server was too busy to answer. */
const LATER = 100

const texts = [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['hello'] }]
const doors: readonly (readonly [path: string, body: object])[] = [
  ['/api/models/text/predict', { inputs: 'hello' }],
  ['/v2/models/text/infer', { inputs: texts }],
  ['/classify', { model: 'text', input: 'hello' }],
  ['/hf/models/text', { inputs: 'hello' }],
  ['/tei/text/predict', { inputs: 'hello' }],
  ['/tfserving/v1/models/text:predict', { instances: ['hello'] }],
  ['/mlflow/text/invocations', { inputs: ['hello'] }],
]

export async function run(log: (line: string) => void): Promise<Result[]> {
  const { home, keys } = await homeWithKeys({
    operator: { name: 'operator', role: 'admin', tenant: 'default' },
    user: { name: 'user', role: 'user', tenant: 'default' },
  })
  const store = await openStore(home)
  const { manifest, files } = await benchClassifier()
  await new Registry(store).register('text', manifest, files)
  await store.close()
  const bin = fileURLToPath(new URL('../bin/athanor.js', import.meta.url))
  const child = spawn(process.execPath, [bin, 'serve', '--port', '0', '--json', '--log', 'error'], {
    env: { ...process.env, ATHANOR_HOME: home, ATHANOR_REQUIRE_KEYS: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    const { url } = JSON.parse(String(line)) as { url: string }
    const operator = new Athanor({ url, key: keys.operator })
    await operator.prices.set('default', '*', { request: 1 })
    await operator.tenants.set('default', { budget: BUDGET, period: 'total' })
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${keys.user}` }
    const ask = async (i: number, dispatcher: Agent) => {
      const [path, body] = doors[i % doors.length]
      const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body), dispatcher })
      const told = await answer.text()
      return answer.ok ? 'answered' : /budget/i.test(told) ? 'spent' : `${answer.status}`
    }
    const counts: Record<string, number> = {}
    const count = (outcomes: readonly string[]) => {
      for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1
    }
    const crowd = new Agent({ connections: REQUESTS, connect: { timeout: 120_000 } })
    count(await Promise.all(Array.from({ length: REQUESTS }, (_, i) => ask(i, crowd))))
    await crowd.close()
    const atOnce = counts.answered ?? 0
    log(`at once: ${JSON.stringify(counts)}`)
    // what is left of the budget can still be spent, and no more
    const few = new Agent({ connections: LATER })
    for (let i = 0; i < 2 * BUDGET; i += LATER)
      count(await Promise.all(Array.from({ length: LATER }, (_, j) => ask(j, few))))
    log(`in all: ${JSON.stringify(counts)}`)
    const days = await operator.usage.list()
    const settled = days.reduce((sum, { requests }) => sum + requests, 0)
    await few.close()
    return [
      {
        measure: `answered of ${REQUESTS} requests at once with a budget of ${BUDGET}`,
        value: atOnce,
        unit: 'requests',
      },
      { measure: 'answered in all, with those that asked later', value: counts.answered ?? 0, unit: 'requests' },
      { measure: 'overspent (goal 0)', value: Math.max(0, (counts.answered ?? 0) - BUDGET), unit: 'requests' },
      { measure: 'answered requests in the usage', value: settled, unit: 'requests' },
    ]
  } finally {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}
