import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startApp } from '../src/app.ts'
import { indexModel } from '../src/registry/entries.ts'
import { openStore } from '../src/store/store.ts'
import { median, quantile } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description = 'search over 10,000 models, as the API answers it'

const MODELS = 10_000
const ROUNDS = 40

const words =
  'hotel film news mail shop review mood topic intent spam city bank food music game law news sport travel'.split(' ')
const subjects = ['酒店评论', '电影情感', '新闻分类', '客服意图', '商品评价', '垃圾邮件']
const families = ['lstm', 'textcnn', 'transformer', 'bow', 'encoder']
const tasks = ['text-classification', 'feature-extraction', 'image-classification', 'tensor']

/** Queries from narrow to one that finds everything. */
const queries: Record<string, string> = {
  'one word': 'search=hotel',
  'two words and a task': 'search=film+spam&task=text-classification',
  Chinese: `search=${encodeURIComponent('情感')}`,
  'one letter': 'search=m',
  'figures and a language': 'language=zh&where=accuracy%3E%3D0.9&sort=-accuracy',
  everything: 'sort=name',
}

const manifestOf = (i: number) => ({
  format: 'athanor-bundle',
  formatVersion: 1,
  task: tasks[i % tasks.length],
  family: families[i % families.length],
  signature: { inputs: [], outputs: [] },
  labels: ['positive', 'negative', '好评', '差评'],
  parameters: i,
  metrics: { accuracy: ((i * 7919) % 1000) / 1000, macroF1: 0.5 },
  lineage: { code: '0', dataset: { digest: 'd', source: `${words[i % words.length]}.csv`, rows: 100 } },
  profile: { scripts: i % 3 === 0 ? { Han: 1 } : { Latin: 1 } },
  description: `${words[(i * 3) % words.length]} ${words[(i * 5) % words.length]} ${subjects[i % subjects.length]} number ${i}`,
  createdAt: new Date(0).toISOString(),
})

async function fill(home: string) {
  const store = await openStore(home)
  await store.db.transaction().execute(async (tx) => {
    for (let i = 0; i < MODELS; i++) {
      const name = `${words[i % words.length]}-${words[(i * 3 + 1) % words.length]}-${i}`
      const created_at = new Date(i * 60_000).toISOString()
      await tx.insertInto('models').values({ name, created_at, last_version: 1 }).execute()
      const manifest = JSON.stringify(manifestOf(i))
      await tx.insertInto('versions').values({ model: name, version: 1, manifest, created_at }).execute()
      const file = { model: name, version: 1, name: 'model.onnx', digest: 'd', bytes: i * 1000 }
      await tx.insertInto('version_files').values(file).execute()
      await tx
        .insertInto('tags')
        .values({ model: name, version: 0, name: 'team', value: words[i % 7] })
        .execute()
      await indexModel(tx, name)
    }
  })
  await store.close()
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const home = mkdtempSync(join(tmpdir(), 'athanor-search-'))
  try {
    await fill(home)
    log(`${MODELS} models are there`)
    const app = await startApp({ home, port: 0, logLevel: 'silent' })
    const results: Result[] = []
    const all: number[] = []
    for (const [name, query] of Object.entries(queries)) {
      const times: number[] = []
      for (let i = 0; i < ROUNDS; i++) {
        const started = performance.now()
        const { total } = (await (await fetch(`${app.url}/api/models?${query}`)).json()) as { total: number }
        times.push(performance.now() - started)
        if (i === 0) log(`${name}: ${total} models`)
      }
      results.push({ measure: `${name}, median`, value: median(times), unit: 'ms' })
      all.push(...times.slice(2))
    }
    results.push({ measure: 'all of them, median (goal 50)', value: median(all), unit: 'ms' })
    results.push({ measure: 'all of them, p99 (goal 50)', value: quantile(all, 0.99), unit: 'ms' })
    await app.close()
    return results
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
