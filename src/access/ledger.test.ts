import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openStore } from '../store/store.ts'
import { placesAt } from '../testing/backends.ts'
import { Access } from './access.ts'
import { budgetState } from './budget.ts'
import { MICRO } from './limits.ts'
import type { Principal } from './roles.ts'
import { hmacOf } from './secret.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-access-'))
after(() => rmSync(root, { recursive: true, force: true }))
let count = 0

async function opened(home = join(root, String(count++))) {
  const store = await openStore(home, await placesAt(home))
  const access = await Access.open(store, true)
  const close = async () => {
    await access.close()
    await store.close()
  }
  return { home, store, access, close }
}

/** The principal of a new key. */
async function keyOf(access: Access, tenant: string, given: Parameters<Access['keys']['create']>[2] = { name: 'k' }) {
  const { token, key } = await access.keys.create(tenant, 'test', given)
  return { token, key, who: access.identify({ authorization: `Bearer ${token}` })! }
}

const none = () => ({ input: 0, output: 0 })

test('10,000 requests at once never overspend a budget, and it is spent whole', async () => {
  const { store, access, close } = await opened()
  await access.tenants.set('acme', { budget: 3, period: 'total' })
  await access.prices.set('acme', '*', { input: 1, output: 2 }) // by a thousand tokens
  const keys = await Promise.all(Array.from({ length: 5 }, (_, i) => keyOf(access, 'acme', { name: `k${i}` })))
  let charged = 0
  let refused = 0
  const outcomes = Array.from({ length: 10_000 }, async (_, i) => {
    try {
      const admission = await access.ledger.admit(keys[i % 5].who, 'm', () => ({ input: 2, output: 1 })) // 0.004 at most
      await new Promise((resolve) => setImmediate(resolve))
      const output = i % 2 // half of them write nothing: 0.002 or 0.004
      charged += 2000 + output * 2000
      admission.settle({ input: 2, output })
      admission.settle({ input: 2, output }) // a second time changes nothing
    } catch (error) {
      assert.equal((error as { code: string }).code, 'BUDGET_SPENT')
      refused++
    }
  })
  await Promise.all(outcomes)
  assert.ok(charged <= 3 * MICRO, `${charged} charged`)
  assert.ok(charged > 3 * MICRO - 4000 - 3 * MICRO * 0.5, `${charged} charged`)
  // what was set aside and not spent is there again
  for (;;) {
    const admission = await access.ledger
      .admit(keys[0].who, 'm', () => ({ input: 2, output: 1 }))
      .catch(() => undefined)
    if (!admission) break
    admission.settle({ input: 2, output: 1 })
    charged += 4000
  }
  assert.ok(charged <= 3 * MICRO && charged > 3 * MICRO - 4000, `${charged} charged`)
  await access.ledger.save()
  const { spent, held } = await budgetState(store.db, 'tenant:acme', 'total')
  assert.equal(spent, charged)
  assert.ok(held <= 3 * MICRO)
  const usage = await access.usage.list({ tenant: 'acme' })
  assert.equal(Math.round(usage.reduce((sum, { cost }) => sum + cost, 0) * MICRO), charged)
  assert.equal(
    usage.reduce((sum, row) => sum + row.refused, 0),
    refused + 1,
  )
  await close()
})

test('several processes on one database share a budget without overspending', async () => {
  const { store, access, close } = await opened()
  await access.tenants.set('acme', { budget: 1, period: 'day' })
  await access.prices.set('*', '*', { request: 0.001 })
  const others = await Promise.all([Access.open(store, true), Access.open(store, true)])
  const { token } = await keyOf(access, 'acme')
  let let_in = 0
  await Promise.all(
    [access, ...others].map(async (one) => {
      await one.reload()
      const who = one.identify({ 'x-api-key': token })!
      await Promise.all(
        Array.from({ length: 1500 }, async () => {
          const admission = await one.ledger.admit(who, 'm', none).catch(() => undefined)
          if (!admission) return
          let_in++
          admission.settle({ input: 0, output: 0 })
        }),
      )
    }),
  )
  // up to a part of the budget may lie unspent at each
  assert.ok(let_in <= 1000 && let_in >= 1000 - 3 * 10, String(let_in))
  for (const one of others) await one.close()
  await close()
})

test('a killed process never makes more of a budget, and loses at most a part of it', async () => {
  const home = join(root, 'killed')
  const first = await opened(home)
  await first.access.tenants.set('acme', { budget: 1, period: 'total' })
  await first.access.prices.set('*', '*', { request: 0.001 })
  const { token } = await keyOf(first.access, 'acme')
  await first.close()
  const script = `
    import { openStore } from ${JSON.stringify(new URL('../store/store.ts', import.meta.url).href)}
    import { Access } from ${JSON.stringify(new URL('./access.ts', import.meta.url).href)}
    const access = await Access.open(await openStore(${JSON.stringify(home)}, ${JSON.stringify(await placesAt(home))}), true)
    const who = access.identify({ 'api-key': ${JSON.stringify(token)} })
    for (let i = 0; i < 205; i++) (await access.ledger.admit(who, 'm', () => ({ input: 0, output: 0 }))).settle({ input: 0, output: 0 })
    process.stdout.write('205\\n')
    process.kill(process.pid, 'SIGKILL')`
  const child = spawnSync(
    process.execPath,
    ['--input-type=module', '--disable-warning=ExperimentalWarning', '-e', script],
    {
      encoding: 'utf8',
    },
  )
  assert.equal(child.stdout, '205\n', child.stderr)
  const { access, close } = await opened(home)
  const who = access.identify({ 'api-key': token })!
  let more = 0
  for (;;) {
    const admission = await access.ledger.admit(who, 'm', none).catch(() => undefined)
    if (!admission) break
    admission.settle({ input: 0, output: 0 })
    more++
  }
  assert.ok(more <= 795 && more >= 785, String(more))
  await close()
})

test('requests and tokens a minute and requests at a time are limited, for key and tenant', async () => {
  const { access, close } = await opened()
  await access.tenants.set('acme', { requestsPerMinute: 5 })
  const one = await keyOf(access, 'acme', { name: 'one', limits: { requestsPerMinute: 2 } })
  const two = await keyOf(access, 'acme', { name: 'two', limits: { concurrent: 1 } })
  const three = await keyOf(access, 'acme', { name: 'three', limits: { tokensPerMinute: 100 } })
  const ask = (who: Principal, tokens = 0) => access.ledger.admit(who, 'm', () => ({ input: tokens, output: 0 }))
  const over = (limit: number, owner: string) => (error: unknown) => {
    const { code, details } = error as { code: string; details: Record<string, unknown> }
    assert.equal(code, 'RATE_LIMITED')
    assert.equal(details.limit, limit)
    assert.equal(details.owner, owner)
    assert.ok((details.retryAfter as number) >= 1)
    return true
  }
  for (let i = 0; i < 2; i++) (await ask(one.who)).settle({ input: 0, output: 0 })
  await assert.rejects(ask(one.who), over(2, 'this key'))
  const running = await ask(two.who)
  await assert.rejects(ask(two.who), over(1, 'this key'))
  running.settle()
  const read = await ask(three.who, 90)
  assert.equal(access.ledger.left(three.who).tokens!.remaining, 10)
  read.settle({ input: 30, output: 0 }) // 60 that were set aside are there again
  assert.equal(access.ledger.left(three.who).tokens!.remaining, 70)
  assert.equal(access.ledger.left(three.who).requests!.remaining, 1)
  await assert.rejects(ask(three.who, 80), over(100, 'this key'))
  ;(await ask(two.who)).settle()
  await assert.rejects(ask(two.who), over(5, 'the tenant "acme"'))
  await close()
})

test('keys are hashed as HMAC-SHA256', () => {
  for (const length of [0, 32, 64, 65, 200]) {
    const secret = randomBytes(length)
    for (const text of ['', 'ath_0', '丹炉'.repeat(50)])
      assert.deepEqual(hmacOf(secret)(text), createHmac('sha256', secret).update(text).digest())
  }
})

test('of a key only an HMAC is stored, with a secret that only its user can read', async () => {
  const { home, store, access, close } = await opened()
  await access.tenants.set('acme', {})
  const { token, key } = await keyOf(access, 'acme')
  assert.equal(statSync(join(home, 'secret')).mode & 0o777, 0o600)
  const rows = await store.db.selectFrom('service_keys').selectAll().execute()
  assert.ok(!JSON.stringify(rows).includes(token.slice(20)))
  assert.ok(token.startsWith(key.prefix))
  await close()
})

test('unknown, revoked, expired and rotated keys, those of disabled users and closed tenants do nothing', async (t) => {
  const { access, close } = await opened()
  const { keys, tenants } = access
  await tenants.set('acme', {})
  await keys.setUser('acme', 'wang@example.com', { role: 'developer' })
  const is = (token: string) => access.identify({ authorization: `Bearer ${token}` })?.id
  const plain = await keyOf(access, 'acme')
  const owned = await keyOf(access, 'acme', { name: 'owned', user: 'wang@example.com', role: 'admin' })
  assert.equal(owned.who.role, 'developer') // no more than its user
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString()
  const { key: soon, token: ending } = await keys.create('acme', 'test', { name: 'soon', expiresAt })
  assert.equal(is(ending), soon.id)
  t.mock.timers.enable({ apis: ['Date'], now: Date.parse(expiresAt) })
  assert.equal(is(ending), undefined)
  t.mock.timers.reset()

  const kept = await keys.rotate('acme', plain.key.id, 60_000)
  assert.equal(is(plain.token), plain.key.id)
  assert.equal(is(kept.token), plain.key.id)
  const last = await keys.rotate('acme', plain.key.id, 0)
  assert.deepEqual([plain.token, kept.token, last.token].map(is), [undefined, undefined, plain.key.id])

  await keys.setUser('acme', 'wang@example.com', { role: 'developer', disabled: true })
  assert.equal(is(owned.token), undefined)
  await keys.setUser('acme', 'wang@example.com', { role: 'viewer' })
  assert.equal(access.identify({ 'api-key': owned.token })?.role, 'viewer')

  await assert.rejects(keys.revoke('default', plain.key.id), { code: 'KEY_NOT_FOUND' })
  await keys.revoke('acme', plain.key.id)
  assert.equal(is(last.token), undefined)
  await tenants.close('acme')
  await access.reload()
  assert.equal(is(owned.token), undefined)
  for (const token of [
    '',
    'ath_',
    `ath_${'0'.repeat(12)}_${'A'.repeat(43)}`,
    `${last.token}x`,
    "' or 1=1 --",
    'x'.repeat(9000),
  ])
    assert.equal(is(token), undefined)
  await close()
})

test('while prices and keys are read anew those before hold, and an older reading never replaces a newer one', async () => {
  const { access, close } = await opened()
  await access.prices.set('acme', '*', { request: 1 })
  const reading = access.prices.load()
  assert.equal(access.prices.of('acme', 'm').request, MICRO, 'no request is free meanwhile')
  await reading
  const { key, token } = await keyOf(access, 'default')
  await Promise.all([access.reload(), access.keys.revoke('default', key.id), access.reload()])
  assert.equal(access.identify({ 'api-key': token }), undefined)
  await close()
})

test('a key for some models can only be one that asks', async () => {
  const { access, close } = await opened()
  await assert.rejects(access.keys.create('default', 'test', { name: 'x', role: 'developer', models: ['a'] }), {
    code: 'OPTION_INVALID',
  })
  await assert.rejects(access.keys.create('default', 'test', { name: 'x', expiresAt: '2001-01-01' }), {
    code: 'OPTION_INVALID',
  })
  await assert.rejects(access.keys.create('default', 'test', { name: 'x', user: 'nobody' }), { code: 'USER_NOT_FOUND' })
  await assert.rejects(access.tenants.set('../up', {}), { code: 'NAME_INVALID' })
  await close()
})
