import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Athanor } from '../client/src/index.ts'
import { generate, type Load } from './lib/generate.ts'
import { processorSeconds, startServer } from './lib/server.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description = 'chat completions through the remote engine to a stub in a process of its own'

const ROUNDS = 3
const SECONDS = 4
const CLIENTS = 32
const chat = (model: string) =>
  JSON.stringify({ model, messages: [{ role: 'user', content: 'Say something of this film.' }], max_tokens: 16 })

export async function run(log: (line: string) => void): Promise<Result[]> {
  const stub = spawn(process.execPath, [fileURLToPath(new URL('./lib/stub.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const server = await startServer({ model: false })
  try {
    const [port] = (await once(stub.stdout, 'data')) as [Buffer]
    const upstream = `http://127.0.0.1:${Number(port)}/v1`
    await new Athanor({ url: server.url }).models.addRemote('far', { url: upstream, protocol: 'openai', model: 'stub' })
    const [direct, through] = [`${upstream}/chat/completions`, `${server.url}/v1/chat/completions`]
    await generate(through, 8, 2, chat('far')) // warm-up
    await generate(direct, 8, 1, chat('stub'))
    const added: number[] = []
    const added99: number[] = []
    const aCore: number[] = []
    const loads: Load[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const alone = await generate(direct, 1, SECONDS / 2, chat('stub'))
      const one = await generate(through, 1, SECONDS / 2, chat('far'))
      added.push(one.p50 - alone.p50)
      added99.push(one.p99 - alone.p99)
      const before = processorSeconds(server.pid)
      const load = await generate(through, CLIENTS, SECONDS, chat('far'))
      aCore.push(load.requests / (processorSeconds(server.pid) - before))
      loads.push(load)
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    const sum = (of: (load: Load) => number) => loads.reduce((all, load) => all + of(load), 0)
    return [
      { measure: 'requests a second of processor time (goal 3000)', value: median(aCore), unit: '1/s' },
      { measure: 'added latency p50, one client (goal 0.5)', value: median(added), unit: 'ms' },
      { measure: 'added latency p99, one client', value: median(added99), unit: 'ms' },
      { measure: `${CLIENTS} clients: requests`, value: median(loads.map((load) => load.perSecond)), unit: '1/s' },
      { measure: `${CLIENTS} clients: p50`, value: median(loads.map((load) => load.p50)), unit: 'ms' },
      { measure: `${CLIENTS} clients: p99`, value: median(loads.map((load) => load.p99)), unit: 'ms' },
      { measure: `${CLIENTS} clients: failed`, value: sum((load) => load.failed), unit: 'requests' },
    ]
  } finally {
    stub.kill('SIGKILL')
    await server.close()
  }
}
