import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { AlertRules } from '../../store/alert-rules.ts'
import { AlertRecords } from '../../store/alerts.ts'
import { HistoryRows } from '../../store/history.ts'
import { LogEntries } from '../../store/log.ts'
import { openStore, type Store } from '../../store/store.ts'
import { placesAt } from '../../testing/backends.ts'
import { Alerts } from '../alerts.ts'
import { History } from '../history/history.ts'
import { Log } from '../log.ts'
import type { Served } from '../metrics/served.ts'
import type { Machine } from '../resources/machine.ts'
import { parseRule } from './rule.ts'
import { Rules } from './rules.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-rules-'))
const MINUTE = 60_000
const HOUR = 60 * MINUTE
let store: Store
let log: Log
let alerts: Alerts
let history: History
let rules: Rules
let machine: Machine

before(async () => {
  store = await openStore(home, await placesAt(home))
  log = new Log(new LogEntries(store), 'silent')
})
after(async () => {
  await log.close()
  await store.close()
  rmSync(home, { recursive: true })
})
beforeEach(async () => {
  for (const table of ['history', 'alerts', 'alert_rules'] as const) await store.db.deleteFrom(table).execute()
  machine = { host: { processors: 2, load: 1, memory: 100, available: 50 }, gpus: [] }
  alerts = await Alerts.load(new AlertRecords(store), log, undefined)
  history = new History(new HistoryRows(store), log)
  rules = await Rules.load(new AlertRules(store), { alerts, history, log, machine: () => machine })
})
const close = async () => {
  await rules.close()
  await history.close()
}

/** So many requests that ended so long ago, of which some failed, each taking so many milliseconds. */
function served(count: number, ago: number, { failed = 0, ms = 10, model = 'm' } = {}) {
  const base: Served = { requestId: 'r', door: 'native', model, version: 1, rows: 1, ms, at: Date.now() - ago }
  for (let i = 0; i < count; i++) history.observe(i < failed ? { ...base, code: 'ENGINE_CRASHED' } : base)
}
const open = async () => {
  await rules.look()
  return alerts.open.map(({ rule, model, message }) => ({ rule, model, message }))
}

test('rules are read as they are written, and refused by what is wrong with them', () => {
  assert.deepEqual(parseRule('p99 > 500ms over 10m'), {
    kind: 'level',
    series: 'p99',
    above: true,
    level: 0.5,
    over: 10 * MINUTE,
  })
  assert.deepEqual(parseRule(' errors  >  2.5% '), {
    kind: 'level',
    series: 'errors',
    above: true,
    level: 0.025,
    over: 5 * MINUTE,
  })
  assert.deepEqual(parseRule('requests falls 50% over 1h'), {
    kind: 'change',
    series: 'requests',
    rises: false,
    by: 0.5,
    over: HOUR,
  })
  assert.deepEqual(parseRule('burn 99.9%'), { kind: 'burn', target: 0.9990000000000001 })
  assert.deepEqual(parseRule('burn 99% within 300ms'), { kind: 'burn', target: 0.99, within: 0.3 })
  for (const text of [
    '',
    'p98 > 1s',
    'p99 > 5',
    'p99 > 500ms over 10',
    'p99 > 500ms over 7h',
    'p99 >= 500ms',
    'errors > 2',
    'memory rises 5%',
    'burn 100%',
    'burn 99% in 5s',
    'toString > 5',
    'p99 > 500ms over 10m please',
  ])
    assert.throws(() => parseRule(text), { code: 'ALERT_RULE_INVALID' }, text)
})

test('a level opens an alert for the model that passes it, and ends with it', async () => {
  await rules.set({ name: 'slow', rule: 'p99 > 500ms over 5m' })
  await rules.set({ name: 'quiet', rule: 'requests < 0.01 over 5m', model: 'other' })
  served(100, MINUTE, { ms: 900 })
  served(100, MINUTE, { ms: 20, model: 'other' })
  const [alert, ...more] = await open()
  assert.deepEqual([alert.rule, alert.model, more], ['slow', 'm', []])
  assert.match(alert.message, /^m: p99 is 8\d\d|9\d\d ms, over 500 ms$/)
  for (let i = 0; i < 20_000; i++) served(1, 0)
  assert.deepEqual(await open(), [])
  const [past] = await alerts.list({})
  assert.ok(past.until !== undefined && past.value > 0.8)
  await close()
})

test('failures of the last minute open an alert without a rule being set; few requests open none', async () => {
  served(19, 0, { failed: 19 })
  assert.deepEqual(await open(), [])
  served(100, 0, { failed: 3 })
  assert.deepEqual(
    (await open()).map(({ rule, model }) => [rule, model]),
    [['errors', 'm']],
  )
  await assert.rejects(rules.set({ name: 'errors', rule: 'errors > 50%' }), { code: 'ALERT_RULE_INVALID' })
  await close()
})

test('a change is told against the stretch before', async () => {
  await rules.set({ name: 'gone', rule: 'requests falls 50% over 10m' })
  served(600, 15 * MINUTE)
  served(500, 2 * MINUTE)
  assert.deepEqual(await open(), [])
  served(2000, 15 * MINUTE)
  assert.match((await open())[0].message, /^m: requests went from .*\/s to /)
  await rules.delete('gone')
  assert.deepEqual(alerts.open, [])
  await assert.rejects(rules.delete('gone'), { code: 'ALERT_RULE_NOT_FOUND' })
  await close()
})

test('an objective is burnt fast only when the long and the short window say so', async () => {
  // 99.9 %: 14.4 times the even pace is 1.44 % of an hour's requests
  await rules.set({ name: 'budget', rule: 'burn 99.9%' })
  served(1000, 50 * MINUTE, { failed: 20 })
  served(1000, MINUTE)
  assert.match((await open())[0].message, /10\.0 times too fast \(ticket\)/, 'the last half hour had none')
  served(1000, MINUTE, { failed: 60 })
  await rules.delete('budget')
  await rules.set({ name: 'budget', rule: 'burn 99.9%' })
  const [alert] = (await open()).filter(({ rule }) => rule === 'budget')
  assert.match(alert.message, /99\.9 % are spent .* times too fast \(page\)/)
  await close()
})

test('slow answers burn an objective of latency; a slow leak is a ticket', async () => {
  await rules.set({ name: 'fast', rule: 'burn 90% within 100ms' })
  served(300, 10 * HOUR)
  served(700, 2 * HOUR, { ms: 20 })
  served(300, 2 * HOUR, { ms: 400 })
  const [alert] = await open()
  assert.match(alert.message, /90 % within 100 ms are spent .* times too fast \(ticket\)/)
  await close()
})

test('the machine is watched too', async () => {
  await rules.set({ name: 'full', rule: 'memory > 90%' })
  assert.deepEqual(await open(), [])
  machine = { ...machine, cgroup: { version: 2, memory: 95, memoryLimit: 100 } }
  assert.deepEqual(await open(), [{ rule: 'full', model: '', message: 'memory is 95 %, over 90 %' }])
  await close()
})

test('what is silenced for a time stays so when it comes again, also after a restart', async () => {
  await rules.set({ name: 'full', rule: 'memory > 90%' })
  const full = { ...machine, cgroup: { version: 2, memory: 95, memoryLimit: 100 } } as const
  machine = full
  await open()
  await alerts.silence(alerts.open[0].id, 60)
  machine = { ...full, cgroup: { ...full.cgroup, memory: 10 } }
  assert.deepEqual(await open(), [])
  machine = full
  await open()
  const [again] = alerts.open
  assert.ok(again.silenced && Date.parse(again.silencedUntil!) > Date.now() + 59 * MINUTE)
  const restarted = await Alerts.load(new AlertRecords(store), log, undefined)
  assert.equal(restarted.open[0].silencedUntil, again.silencedUntil)
  await close()
})
