import { readFileSync } from 'node:fs'
import { Athanor } from '../client/src/index.ts'
import { miniLmBundle } from './lib/models.ts'
import { startServer } from './lib/server.ts'
import { texts } from './lib/texts.ts'
import type { Result } from './main.ts'

export const description =
  'memory of the engines of one version, whose weights are mapped from its file (Linux; ATHANOR_MINILM: folder)'

export async function run(log: (line: string) => void): Promise<Result[]> {
  const bundle = await miniLmBundle()
  const server = await startServer({ model: false, models: [['encoder', bundle]] })
  try {
    const client = new Athanor({ url: server.url })
    const results: Result[] = [
      { measure: 'file of the graph', value: bundle.files['model.onnx'].byteLength / 1e6, unit: 'MB' },
    ]
    for (const replicas of [1, 2, 3]) {
      await client.deployments.setServing('encoder', { replicas })
      await client.models.load('encoder')
      for (const text of texts) await client.embed('encoder', [text])
      const engines = await client.engines()
      const all = engines.map(({ pid }) => memoryOf(pid!))
      const each = (part: keyof Memory) => all.reduce((sum, memory) => sum + memory[part], 0) / all.length
      const named = `${replicas} engine${replicas > 1 ? 's' : ''}: each`
      results.push(
        { measure: `${named}, its own`, value: each('own'), unit: 'MB' },
        { measure: `${named}, its share of all`, value: each('share'), unit: 'MB' },
        { measure: `${named}, resident`, value: each('resident'), unit: 'MB' },
      )
      log(named)
    }
    return results
  } finally {
    await server.close()
  }
}

/** Of a process in MB: pages that are its alone, all of its pages divided by how many processes have each, all of them. */
interface Memory {
  own: number
  share: number
  resident: number
}

function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const of = (key: string) => (Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024) / 1e6
  return { own: of('Private_Clean') + of('Private_Dirty'), share: of('Pss'), resident: of('Rss') }
}
