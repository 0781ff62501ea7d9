import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Athanor } from '../client/src/index.ts'
import { startTestServer, type TestServer } from './testing/server.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { tinyDecoder } from './testing/tiny-decoder.ts'

let server: TestServer
let athanor: Athanor

before(async () => {
  server = await startTestServer({ keepTexts: true, logRequests: 0.5 })
  athanor = new Athanor({ url: server.url })
  const { manifest, files } = await tinyClassifier()
  await server.app.house.registry.register('plain', manifest, files)
  const writer = await tinyDecoder()
  await server.app.house.registry.register('writer', writer.manifest, writer.files)
})
after(() => server.close())

test('errors that are alike are counted together; their stacks are told one by one', async () => {
  const tooLong = 'x'.repeat(100_001)
  for (let i = 0; i < 3; i++) await assert.rejects(athanor.predict('plain', tooLong), { code: 'TEXT_TOO_LONG' })
  const broken = (why: string) => new Error(`it broke at ${why}`)
  const { log } = server.app.house
  for (const why of ['noon', 'midnight'])
    log.error('made.up', broken(why), { model: 'plain', version: 1, requestId: why })
  log.error('made.up', new TypeError('another place'))

  const groups = await athanor.errors()
  const long = groups.find(({ code }) => code === 'TEXT_TOO_LONG')!
  assert.deepEqual([long.count, long.model, long.requests.length], [3, 'plain', 3])
  assert.ok(long.firstAt <= long.lastAt)
  const made = groups.filter(({ event }) => event === 'made.up')
  assert.deepEqual(made.map(({ count }) => count).sort(), [1, 2])
  const twice = made.find(({ count }) => count === 2)!
  assert.deepEqual([twice.code, twice.requests, twice.version], ['INTERNAL', ['midnight', 'noon'], 1])
  assert.ok(!('detail' in twice) && !JSON.stringify(groups).includes('failures.test'))
  assert.match((await athanor.error(twice.fingerprint)).detail!, /broke at midnight\n +at broken .*failures\.test\.ts/)

  log.error('made.up', broken('dawn'), { model: 'plain', version: 2, requestId: 'dawn' })
  const again = await athanor.error(twice.fingerprint)
  assert.deepEqual([again.count, again.version, again.requests], [3, 2, ['dawn', 'midnight', 'noon']])
  assert.equal(again.firstAt, twice.firstAt)
  assert.deepEqual((await athanor.errors({ code: 'TEXT_TOO_LONG' })).length, 1)
  await assert.rejects(athanor.error('0123456789ab'), { code: 'ERROR_NOT_FOUND' })
})

test('a share of the requests is logged, failures all; contents only without what looks like a person’s', async () => {
  for (let i = 0; i < 10; i++) await athanor.predict('plain', 'mail quick@fox.com')
  const logged = await athanor.requests({ model: 'plain' })
  const answered = logged.filter(({ code }) => code === undefined)
  assert.equal(answered.length, 5)
  assert.equal(logged.filter(({ code }) => code === 'TEXT_TOO_LONG').length, 3)
  assert.deepEqual([answered[0].input, answered[0].rows, answered[0].door], ['mail <email>', 1, 'native'])
  assert.match(answered[0].output!, /"label":"[abc]"/)
  const [found] = await athanor.requests({ request: answered[0].requestId })
  assert.deepEqual(found, answered[0])

  for (let i = 0; i < 2; i++) await athanor.generate('writer', 'call 13812345678', { maxTokens: 4 })
  const [text] = await athanor.requests({ model: 'writer' })
  assert.deepEqual([text.input, text.completionTokens], ['call <phone>', 4])
})

test('without leave to keep texts, no contents are logged', async () => {
  const other = await startTestServer({ logRequests: 1 })
  const { manifest, files } = await tinyClassifier()
  await other.app.house.registry.register('plain', manifest, files)
  const client = new Athanor({ url: other.url })
  await client.predict('plain', 'secret')
  const [entry] = await client.requests()
  assert.deepEqual([entry.model, entry.input, entry.output], ['plain', undefined, undefined])
  await other.close()
})
