import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startTestServer, type TestServer } from './testing/server.ts'
import { tinyClassifier, tinyGraph } from './testing/tiny.ts'
import { tinyDecoder } from './testing/tiny-decoder.ts'

let server: TestServer
const ready = async (path = '/readyz') => {
  const response = await fetch(server.url + path)
  return { status: response.status, body: (await response.json()) as Record<string, never> }
}
before(async () => {
  server = await startTestServer()
})
after(() => server.close())

test('a server without models is alive and ready', async () => {
  assert.equal((await ready('/livez')).status, 200)
  assert.deepEqual(await ready(), { status: 200, body: { ready: true, models: 0 } })
})

test('a server is ready while every loaded model answers, and is not while one hangs', async () => {
  const { registry, deployments, metrics } = server.app.house
  const { manifest, files } = await tinyClassifier()
  await registry.register('plain', manifest, files)
  const writer = tinyDecoder()
  await registry.register('writer', writer.manifest, writer.files)
  await fetch(`${server.url}/api/models/graph/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: tinyGraph() as BodyInit,
  })
  for (const name of ['plain', 'writer', 'graph']) await deployments.load(name)
  const asked = async () => (await deployments.list()).map(({ requests }) => requests)
  const warmedUp = await asked()
  const { status, body } = await ready('/ready')
  assert.equal(status, 200)
  assert.deepEqual(body, { ready: true, models: 3 })
  // canaries are nobody's requests
  assert.deepEqual([...metrics.series], [])
  assert.deepEqual(await asked(), warmedUp)

  const stopped = (await deployments.list()).find(({ model }) => model === 'plain')!
  process.kill(stopped.pid!, 'SIGSTOP')
  let told = await ready()
  for (let i = 0; i < 100 && told.status === 200; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    told = await ready()
  }
  assert.equal(told.status, 503)
  assert.match(JSON.stringify(told.body), /NOT_READY.*1 of 3 loaded models do not answer/)
  assert.equal((await ready('/livez')).status, 200)
  process.kill(stopped.pid!, 'SIGCONT')
  for (let i = 0; i < 100 && told.status !== 200; i++) told = await ready()
  assert.equal(told.status, 200)
})
