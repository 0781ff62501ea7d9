import { Athanor, AthanorError } from '../client/src/index.ts'
import { startServer } from './lib/server.ts'
import { quantile } from './lib/statistics.ts'
import { texts } from './lib/texts.ts'
import type { Result } from './main.ts'

export const description =
  'an engine killed again and again under load: requests that fail or hang, time until the next answer'

const KILLS = Number(process.env.KILLS ?? 10)

export async function run(): Promise<Result[]> {
  const server = await startServer()
  try {
    const client = new Athanor({ url: server.url, retries: 0, timeout: 15_000 })
    await client.models.load('text')
    let go = true
    const counts = { answered: 0, refused: 0, hung: 0 }
    let lastAnswer = performance.now()
    const callers = Array.from({ length: 8 }, async (_, c) => {
      for (let i = c; go; i++) {
        try {
          await client.predict('text', texts[i % texts.length])
          counts.answered++
          lastAnswer = performance.now()
        } catch (error) {
          if (error instanceof AthanorError && error.code !== 'DEADLINE_EXCEEDED') counts.refused++
          else counts.hung++
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    })
    const gaps: number[] = []
    for (let i = 0; i < KILLS; i++) {
      await new Promise((resolve) => setTimeout(resolve, 14_000)) // slower than the breaker: five deaths a minute break an engine
      const [{ pid }] = await client.engines()
      process.kill(pid!, 'SIGKILL')
      const killed = performance.now()
      while (lastAnswer <= killed + 20) await new Promise((resolve) => setTimeout(resolve, 2))
      gaps.push(lastAnswer - killed)
    }
    go = false
    await Promise.all(callers)
    return [
      { measure: 'kills', value: KILLS, unit: '' },
      { measure: 'requests answered', value: counts.answered, unit: '' },
      { measure: 'requests refused with a typed error', value: counts.refused, unit: '' },
      { measure: 'requests that hung', value: counts.hung, unit: '' },
      { measure: 'death to next answer, median (goal 1000)', value: quantile(gaps, 0.5), unit: 'ms' },
      { measure: 'death to next answer, longest', value: quantile(gaps, 1), unit: 'ms' },
    ]
  } finally {
    await server.close()
  }
}
