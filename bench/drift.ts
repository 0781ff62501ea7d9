import { setTimeout } from 'node:timers/promises'
import { Athanor } from '../client/src/index.ts'
import { random, shuffle } from '../src/base/random.ts'
import { openDataset } from '../src/data/dataset.ts'
import { WINDOW } from '../src/drift/sketch.ts'
import { startServer } from './lib/server.ts'
import type { Result } from './main.ts'

export const description =
  'alerts and estimated accuracy on hotel reviews and on those of other products (ATHANOR_SHOPPING names online_shopping_10_cats as .zip or .csv)'

const HOTEL = '酒店'
const TRAINED = 4_800
const ASKED = 5_000
const AT_ONCE = 50

export async function run(log: (line: string) => void): Promise<Result[]> {
  const path = process.env.ATHANOR_SHOPPING
  if (!path) throw new Error('set ATHANOR_SHOPPING to online_shopping_10_cats.zip or .csv (ChineseNlpCorpus)')
  const { hotel, others } = await reviews(path)
  const server = await startServer({ model: false })
  try {
    const athanor = new Athanor({ url: server.url })
    const lines = hotel.slice(0, TRAINED).map((row) => JSON.stringify(row))
    const { id } = await athanor.datasets.upload('hotel.jsonl', Buffer.from(lines.join('\n')))
    const run = await athanor.runs.create({ name: 'hotel', dataset: id, family: 'bow' })
    for await (const event of athanor.runs.events(run.run)) if (event.type === 'epoch') log(`epoch ${event.epoch}`)
    return [
      ...(await feed(athanor, 'hotel reviews', hotel.slice(TRAINED, TRAINED + ASKED))),
      ...(await feed(athanor, 'other products', others.slice(0, ASKED))),
    ]
  } finally {
    await server.close()
  }
}

interface Review {
  text: string
  label: string
}

/** Reviews of hotels, and of everything else, shuffled. */
async function reviews(path: string): Promise<{ hotel: Review[]; others: Review[] }> {
  const dataset = await openDataset(path, { text: 'review', label: 'label', group: 'cat' })
  const [hotel, others]: Review[][] = [[], []]
  for await (const { text, label, group } of dataset.rows()) {
    if (label !== undefined && text.trim() !== '') (group === HOTEL ? hotel : others).push({ text, label })
  }
  await dataset.close()
  return { hotel: shuffle(hotel, random(1)), others: shuffle(others, random(2)) }
}

async function feed(athanor: Athanor, what: string, rows: readonly Review[]): Promise<Result[]> {
  let [right, first] = [0, 0]
  for (let start = 0; start < rows.length; start += AT_ONCE) {
    const part = rows.slice(start, start + AT_ONCE)
    const answers = await athanor.predictAll(
      'hotel',
      part.map(({ text }) => text),
    )
    answers.forEach(([best], i) => {
      if (best.label === part[i].label) right++
    })
    if (first > 0 || (start + AT_ONCE) % WINDOW !== 0) continue
    await setTimeout(100) // the window is judged beside the requests
    if ((await athanor.alerts({ open: true })).some(({ rule }) => rule === 'drift')) first = start + AT_ONCE
  }
  await setTimeout(500)
  const windows = (await athanor.drift('hotel', { limit: Math.floor(rows.length / WINDOW) })).windows
  const estimated = windows.reduce((sum, { estimatedAccuracy = 0 }) => sum + estimatedAccuracy, 0) / windows.length
  return [
    { measure: `${what}: accuracy`, value: right / rows.length, unit: '' },
    { measure: `${what}: accuracy estimated without labels`, value: estimated, unit: '' },
    {
      measure: `${what}: windows that differ`,
      value: windows.filter(({ drifted }) => drifted.length > 0).length,
      unit: `of ${windows.length}`,
    },
    { measure: `${what}: first alert (0 for none)`, value: first, unit: 'requests' },
  ]
}
