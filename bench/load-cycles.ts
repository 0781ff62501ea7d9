import { readdirSync } from 'node:fs'
import { Athanor } from '../client/src/index.ts'
import { residentMB, startServer } from './lib/server.ts'
import type { Result } from './main.ts'

export const description = 'memory and file handles of the server after 1,000 loads and unloads of a model'

const CYCLES = Number(process.env.CYCLES ?? 1000)

export async function run(log: (line: string) => void): Promise<Result[]> {
  const server = await startServer()
  try {
    const client = new Athanor({ url: server.url })
    const cycle = async () => {
      await client.models.load('text')
      await client.predict('text', 'hello')
      await client.models.unload('text')
    }
    for (let i = 0; i < 50; i++) await cycle() // caches and the heap find their size
    const handles = () => readdirSync(`/proc/${server.pid}/fd`).length
    const before = { memory: residentMB(server.pid), handles: handles() }
    const began = performance.now()
    for (let i = 1; i <= CYCLES; i++) {
      await cycle()
      if (i % 100 === 0) log(`${i} cycles, ${residentMB(server.pid).toFixed(0)} MB`)
    }
    const seconds = (performance.now() - began) / 1000
    return [
      { measure: 'cycles', value: CYCLES, unit: '' },
      { measure: 'resident memory before', value: before.memory, unit: 'MB' },
      { measure: 'resident memory after', value: residentMB(server.pid), unit: 'MB', floor: before.memory },
      { measure: 'file handles before', value: before.handles, unit: '' },
      { measure: 'file handles after', value: handles(), unit: '', floor: before.handles },
      { measure: 'one cycle: load, answer, unload', value: (seconds / CYCLES) * 1000, unit: 'ms' },
    ]
  } finally {
    await server.close()
  }
}
