import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { random } from '../../base/random.ts'
import { HistoryRows } from '../../store/history.ts'
import { LogEntries } from '../../store/log.ts'
import { openStore, type Store } from '../../store/store.ts'
import { placesAt } from '../../testing/backends.ts'
import { Log } from '../log.ts'
import type { Served } from '../metrics/served.ts'
import { History } from './history.ts'
import { Sketch } from './sketch.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-history-'))
let store: Store
let log: Log
before(async () => {
  store = await openStore(home, await placesAt(home))
  log = new Log(new LogEntries(store), 'silent')
})
after(async () => {
  await log.close()
  await store.close()
  rmSync(home, { recursive: true })
})

const MINUTE = 60_000
/** The full hour six hours ago. */
const noon = Date.now() - (Date.now() % (60 * MINUTE)) - 360 * MINUTE
const iso = (at: number) => new Date(at).toISOString()
const answer = (at: number, ms: number, more: Partial<Served> = {}): Served => ({
  requestId: 'req_1',
  door: 'native',
  model: 'plain',
  version: 1,
  rows: 1,
  ms,
  at,
  ...more,
})
const query = { since: iso(noon - 60 * MINUTE), until: iso(noon + 60 * MINUTE) }

test('a sketch tells quantiles within 2 %, also after it was written, read and merged', () => {
  const next = random(7)
  const numbers = Array.from({ length: 20_000 }, () => Math.exp(6 * next() - 8))
  const [left, right] = [new Sketch(), new Sketch()]
  numbers.forEach((number, i) => {
    const part = i % 3 ? left : right
    part.add(number)
  })
  const whole = Sketch.parse(String(left))
  whole.merge(Sketch.parse(String(right)))
  const sorted = numbers.toSorted((a, b) => a - b)
  for (const share of [0, 0.01, 0.5, 0.9, 0.99, 1]) {
    const exact = sorted[Math.floor(share * (sorted.length - 1))]
    assert.ok(Math.abs(whole.quantile(share)! / exact - 1) < 0.0201, `${share}`)
  }
  const limit = sorted[15_000]
  assert.ok(Math.abs(whole.above(limit) - 4999) < 5000 * 0.05, `${whole.above(limit)}`)
  assert.equal(whole.count, 20_000)
  assert.equal(new Sketch().quantile(0.5), undefined)
})

test('minutes and hours are kept, by model, version and door', async () => {
  const history = new History(new HistoryRows(store), log)
  for (let i = 0; i < 100; i++) history.observe(answer(noon + 1000, 10))
  history.observe(answer(noon + 1000, 5, { code: 'ENGINE_CRASHED' }))
  history.observe(answer(noon + 1000, 5, { code: 'TEXT_TOO_LONG' }))
  await history.flush()
  // the same minute goes on after it was written once
  for (let i = 0; i < 100; i++) history.observe(answer(noon + 30_000, 100, { door: 'oip' }))
  const written = { finish: 'stop', usage: { promptTokens: 5, completionTokens: 7 }, first: 20, gaps: [] } as const
  history.observe(answer(noon + MINUTE, 50, { model: 'writer', version: 2, written }))
  const { series } = await history.read(query)
  assert.deepEqual(
    series.map(({ model, points }) => [model, points.map(({ at, requests }) => [at, requests])]),
    [
      ['plain', [[iso(noon), 202]]],
      ['writer', [[iso(noon + MINUTE), 1]]],
    ],
  )
  const { total } = series[0]
  assert.deepEqual([total.errors, total.refused], [1, 1])
  assert.ok(Math.abs(total.latency!.p50 / 0.01 - 1) < 0.03 || Math.abs(total.latency!.p50 / 0.1 - 1) < 0.03)
  assert.ok(Math.abs(total.latency!.p99 / 0.1 - 1) < 0.03)
  assert.deepEqual([series[1].total.promptTokens, series[1].total.completionTokens], [5, 7])
  assert.ok(Math.abs(series[1].total.firstToken!.p50 / 0.02 - 1) < 0.03)

  const byDoor = await history.read({ ...query, model: 'plain', by: ['door'] })
  assert.deepEqual(byDoor.series.map(({ door, total }) => [door, total.requests]).sort(), [
    ['native', 102],
    ['oip', 100],
  ])
  const hours = await history.read({ ...query, span: 'hour', by: [] })
  assert.deepEqual(
    hours.series.map(({ points }) => points.map(({ at, requests }) => [at, requests])),
    [[[iso(noon), 203]]],
  )
  await history.close()
})

test('another process, a restart and a clock set back add to what was counted', async () => {
  const others = [new History(new HistoryRows(store), log), new History(new HistoryRows(store), log)]
  for (const history of others) history.observe(answer(noon + 2000, 10, { model: 'shared' }))
  await Promise.all(others.map((history) => history.flush()))
  const [history] = others
  history.observe(answer(noon + 20 * MINUTE, 10, { model: 'shared' }))
  await history.flush()
  history.observe(answer(noon + 3000, 10, { model: 'shared' }))
  await history.flush()
  const { series } = await history.read({ ...query, model: 'shared' })
  assert.deepEqual(
    series[0].points.map(({ at, requests }) => [at, requests]),
    [
      [iso(noon), 3],
      [iso(noon + 20 * MINUTE), 1],
    ],
  )
  assert.equal((await history.byModel('minute', noon, noon + 60 * MINUTE)).get('shared')!.counts.requests, 4)
  for (const one of others) await one.close()
})

test('what is old is dropped; a time that is none is refused', async () => {
  const now = Date.now()
  const history = new History(new HistoryRows(store), log)
  const days = (count: number) => now - count * 86_400_000
  for (const age of [0, 2, 100]) history.observe(answer(days(age), 10, { model: `aged-${age}` }))
  await history.flush()
  const kept = async (span: 'minute' | 'hour') => {
    const { series } = await history.read({ span, since: new Date(days(120)).toISOString() })
    return series.flatMap(({ model }) => (model!.startsWith('aged-') ? [model] : []))
  }
  assert.deepEqual(await kept('minute'), ['aged-0'])
  assert.deepEqual(await kept('hour'), ['aged-2', 'aged-0'])
  await assert.rejects(history.read({ since: 'yesterday' }), { code: 'BAD_REQUEST' })
  await history.close()
})
