// A database and an object store that go away and come back: npm run test:stores.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Athanor } from '../../client/src/index.ts'
import { startApp } from '../app.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { openCable } from '../testing/cable.ts'
import { tinyClassifier, tinyGraph } from '../testing/tiny.ts'

const [, shared] = backends
const root = mkdtempSync(join(tmpdir(), 'athanor-away-'))
after(async () => {
  rmSync(root, { recursive: true, force: true })
  await removeBackends()
})

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
  const app = await startApp({ ...given, port: 0, logLevel: 'silent' })
  t.after(async () => {
    await app.close()
    await Promise.all([database.cable.cut(), endpoint.cable.cut()])
  })
  const client = new Athanor({ url: app.url, retries: 0 })
  const { manifest, files } = await tinyClassifier()
  await app.house.registry.register('tiny', manifest, files)
  await client.models.setAlias('tiny', 'champion', 1)
  const expected = await client.predict('tiny@champion', 'hello')

  await Promise.all([database.cable.cut(), endpoint.cable.cut()])
  const until = performance.now() + 61_000
  do {
    assert.deepEqual(await client.predict('tiny@champion', 'hello'), expected)
    await setTimeout(500)
  } while (performance.now() < until)
  const refused = await fetch(`${app.url}/api/models/tiny/aliases/other`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"version":1}',
  })
  assert.equal(refused.status, 503)
  assert.ok(Number(refused.headers.get('retry-after')) > 0)
  assert.match(await refused.text(), /STORAGE_UNAVAILABLE/)

  await database.cable.mend()
  await assert.rejects(client.models.import('plain', tinyGraph()), { code: 'STORAGE_UNAVAILABLE' })
  await endpoint.cable.mend()
  await client.models.import('plain', tinyGraph())
  await client.models.setAlias('tiny', 'other', 1)
  assert.deepEqual((await client.models.show('tiny')).aliases, { champion: 1, other: 1 })
  assert.equal((await client.models.show('plain')).version, 1)
})
