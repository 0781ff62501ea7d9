import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Athanor } from '../client/src/index.ts'
import { tinyClassifier } from '../src/testing/tiny.ts'
import { llamaFile, llamaFileBundle, miniLmBundle } from './lib/models.ts'
import { startServer } from './lib/server.ts'
import { quantile } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description =
  'from idle, with no process of the model, to its first answer (ATHANOR_MINILM: folder; ATHANOR_ENGINES: with llama in it)'

const ROUNDS = Number(process.env.ROUNDS ?? 9)
/** Milliseconds between answers and the next model, in which what is got ready beforehand is got ready. */
const REST = 1_500

export async function run(log: (line: string) => void): Promise<Result[]> {
  const llama = existsSync(join(process.env.ATHANOR_ENGINES ?? '', 'llama/node_modules/node-llama-cpp'))
  const models = [
    ['classifier', await tinyClassifier({ hidden: 560, width: 560 })] as const, // 10 MB
    ['encoder', await miniLmBundle()] as const,
    ...(llama ? [['llama', llamaFileBundle(await llamaFile())] as const] : []),
  ]
  const server = await startServer({ model: false, models })
  try {
    const client = new Athanor({ url: server.url, retries: 0 })
    const text = 'the quick brown fox jumps over the lazy dog'
    const asks = [
      {
        name: 'classifier',
        what: '10 MB classifier (goal 150)',
        ask: () => client.predict('classifier', text),
      },
      { name: 'encoder', what: '90 MB encoder (goal 600)', ask: () => client.embed('encoder', [text]) },
      {
        name: 'llama',
        what: '0.1B GGUF, first token (goal 1500)',
        async ask() {
          for await (const event of client.stream('llama', text, { temperature: 0, maxTokens: 1 })) return event
        },
      },
    ].filter(({ name }) => models.some(([known]) => known === name))
    const times = new Map(asks.map(({ name }) => [name, [] as number[]]))
    const first = new Map<string, string>()
    for (let round = -1; round < ROUNDS; round++) {
      for (const { name, ask } of asks) {
        await new Promise((resolve) => setTimeout(resolve, REST))
        const began = performance.now()
        const answer = JSON.stringify(await ask())
        const took = performance.now() - began
        if (first.get(name) === undefined) first.set(name, answer)
        if (first.get(name) !== answer) throw new Error(`${name} answered otherwise: ${answer}`)
        if (round >= 0) times.get(name)!.push(took)
        await client.models.unload(name)
      }
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    return asks.flatMap(({ name, what }) => [
      { measure: what, value: quantile(times.get(name)!, 0.5), unit: 'ms' },
      { measure: `${name}, slowest`, value: Math.max(...times.get(name)!), unit: 'ms' },
    ])
  } finally {
    await server.close()
  }
}
