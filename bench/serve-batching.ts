import { Athanor } from '../client/src/index.ts'
import { tinyClassifier } from '../src/testing/tiny.ts'
import { bareLoop } from './lib/bare-loop.ts'
import { checkedLoad, expectedAnswers, protocolText } from './lib/checked.ts'
import type { Load } from './lib/clients.ts'
import { miniLmBundle } from './lib/models.ts'
import { type Bundle, benchClassifier, startServer } from './lib/server.ts'
import { median } from './lib/statistics.ts'
import { texts } from './lib/texts.ts'
import type { Result } from './main.ts'

export const description =
  'texts of 32 clients in batches, against one at a time and against the engine alone with its best batch (ATHANOR_MINILM: folder)'

const [ROUNDS, SECONDS, CLIENTS] = [3, 4, 32]
const BATCHES = [1, 8, 32, 64]

export async function run(log: (line: string) => void): Promise<Result[]> {
  const models: [string, Bundle][] = [
    ['LSTM, 128 wide', await benchClassifier()],
    ['LSTM, 512 wide', await tinyClassifier({ hidden: 512, width: 128 })],
    ['MiniLM-L6', await miniLmBundle()],
  ]
  const results: Result[] = []
  for (const [name, bundle] of models) {
    results.push(...(await batching(name, bundle)))
    log(name)
  }
  return results
}

/** Rounds of the bare loop, of a server that runs each text alone, and of the same server as it is. */
async function batching(name: string, bundle: Bundle): Promise<Result[]> {
  const server = await startServer({ model: [bundle] })
  try {
    const athanor = new Athanor({ url: server.url })
    await athanor.models.load('text')
    const bare = await bareLoop(bundle)
    const job = {
      url: `${server.url}/v2/models/text/infer`,
      bodies: texts.map((text) => JSON.stringify(protocolText(text))),
      clients: CLIENTS,
      ...(await expectedAnswers(bundle)),
    }
    const rates = new Map(BATCHES.map((size) => [size, [] as number[]]))
    const [alone, together]: [Load[], Load[]] = [[], []]
    for (let round = 0; round < ROUNDS; round++) {
      for (const [size, list] of rates) list.push(await bare(size))
      for (const [tokenBudget, loads] of [
        [1, alone],
        [null, together],
      ] as const) {
        await athanor.deployments.setServing('text', { tokenBudget }) // a budget of one token: each text alone
        await checkedLoad({ ...job, seconds: 1 })
        loads.push(await checkedLoad({ ...job, seconds: SECONDS }))
      }
    }
    const best = Math.max(...[...rates.values()].map(median))
    const [one, many] = [alone, together].map((loads) => median(loads.map(({ perSecond }) => perSecond)))
    const bad = [...alone, ...together].reduce((sum, { failed, wrong }) => sum + failed + wrong, 0)
    return [
      ...[...rates].map(([size, list]) => ({
        measure: `${name}: bare loop, ${size} a run`,
        value: median(list),
        unit: 'texts/s',
      })),
      { measure: `${name}: one at a time`, value: one, unit: '1/s' },
      {
        measure: `${name}: in batches, against one at a time`,
        value: many,
        unit: '1/s',
        floor: one,
        ratio: many / one,
      },
      {
        measure: `${name}: in batches, against the bare loop`,
        value: many,
        unit: '1/s',
        floor: best,
        ratio: many / best,
      },
      { measure: `${name}: failed or wrong`, value: bad, unit: 'requests' },
    ]
  } finally {
    await server.close()
  }
}
