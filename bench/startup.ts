import { residentMB, startServer } from './lib/server.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description = 'time until the server is ready, and its memory without a model'

export async function run(): Promise<Result[]> {
  const ready: number[] = []
  const memory: number[] = []
  for (let i = 0; i < 6; i++) {
    const server = await startServer({ model: false })
    await fetch(`${server.url}/health`)
    if (i > 0) {
      ready.push(server.readyMs)
      memory.push(residentMB(server.pid))
    }
    await server.close()
  }
  return [
    { measure: 'process start to ready (goal 1000)', value: median(ready), unit: 'ms' },
    { measure: 'resident memory without a model (goal 150)', value: median(memory), unit: 'MB' },
  ]
}
