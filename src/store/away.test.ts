// A database and an object store that go away and come back: npm run test:stores.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Athanor } from '../../client/src/index.ts'
import { Access } from '../access/access.ts'
import { startApp } from '../app.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { openCable } from '../testing/cable.ts'
import { tinyClassifier, tinyGraph } from '../testing/tiny.ts'
import { openStore } from './store.ts'

const [, shared] = backends
const root = mkdtempSync(join(tmpdir(), 'athanor-away-'))
after(async () => {
  rmSync(root, { recursive: true, force: true })
  await removeBackends()
})

async function adminKey({ home, ...places }: { home: string; database: string; blobs: string }): Promise<string> {
  const store = await openStore(home, places)
  const access = await Access.open(store, true)
  const { token } = await access.keys.create('default', 'test', { name: 'admin', role: 'admin' })
  await access.close()
  await store.close()
  return token
}

/** The address with another port, which leads to it. */
async function cabled(address: string) {
  const url = new URL(address)
  const cable = await openCable({ host: url.hostname, port: Number(url.port) })
  url.port = String(cable.port)
  return { cable, address: url.href }
}

test('without its stores a server goes on answering for a minute, refuses writes, and loses nothing', {
  skip: shared.skip,
}, async (t) => {
  const { places } = await shared.fresh()
  const database = await cabled(places.database!)
  const bucket = new URL(places.blobs!)
  const endpoint = await cabled(bucket.searchParams.get('endpoint')!)
  bucket.searchParams.set('endpoint', endpoint.address)
  const given = { home: join(root, 'home'), database: database.address, blobs: bucket.href }
  const token = await adminKey(given)
  const app = await startApp({ ...given, port: 0, logLevel: 'silent', requireKeys: true })
  t.after(async () => {
    await app.close()
    await Promise.all([database.cable.cut(), endpoint.cable.cut()])
  })
  const client = new Athanor({ url: app.url, key: token, retries: 0 })
  const { manifest, files } = await tinyClassifier()
  await app.house.registry.register('tiny', manifest, files)
  await client.models.setAlias('tiny', 'champion', 1)
  const expected = await client.predict('tiny@champion', 'hello')
  await app.house.registry.register('idle', manifest, files)
  const idle = await client.predict('idle', 'hello')
  await client.models.unload('idle')

  await Promise.all([database.cable.cut(), endpoint.cable.cut()])
  // requests bring a model that lay in memory before back from the files cached here; by name, and by the version it was
  assert.deepEqual(await client.predict('idle', 'hello'), idle)
  assert.deepEqual(await client.predict('tiny@1', 'hello'), expected)
  // what a person changes needs its entry in the audit log first
  await assert.rejects(client.models.load('idle'), { code: 'STORAGE_UNAVAILABLE' })
  const until = performance.now() + 61_000
  let asked = 1
  do {
    assert.deepEqual(await client.predict('tiny@champion', 'hello'), expected)
    asked++
    await setTimeout(500)
  } while (performance.now() < until)
  const refused = await fetch(`${app.url}/api/models/tiny/aliases/other`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: '{"version":1}',
  })
  assert.equal(refused.status, 503)
  assert.ok(Number(refused.headers.get('retry-after')) > 0)
  assert.match(await refused.text(), /STORAGE_UNAVAILABLE/)

  assert.equal((await fetch(`${app.url}/api/models`, { headers: { 'api-key': `${token}x` } })).status, 401)

  await database.cable.mend()
  await assert.rejects(client.models.import('plain', tinyGraph()), { code: 'STORAGE_UNAVAILABLE' })
  await endpoint.cable.mend()
  await client.models.import('plain', tinyGraph())
  await client.models.setAlias('tiny', 'other', 1)
  assert.deepEqual((await client.models.show('tiny')).aliases, { champion: 1, other: 1 })
  assert.equal((await client.models.show('plain')).version, 1)
  const [{ requests }] = (await client.usage.list()).filter(({ model }) => model === 'tiny')
  assert.equal(requests, asked + 1, 'what was used meanwhile is charged')
  const outcomes = (await client.audit()).map(({ action, outcome }) => `${action} ${outcome}`)
  assert.deepEqual(outcomes, [
    'PUT /api/models/:name/aliases/:alias done',
    'POST /api/models/:name/versions done',
    'POST /api/models/:name/versions STORAGE_UNAVAILABLE',
    'POST /api/models/:model/unload done',
    'PUT /api/models/:name/aliases/:alias done',
  ])
})
