import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../testing/tiny.ts'

const encoders = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, identity: (body: Buffer) => body }
const bodyLimit = 100_000

let server: TestServer
before(async () => {
  server = await startTestServer({ bodyLimit })
  const { manifest, files } = await tinyClassifier()
  await server.app.house.registry.register('tiny', manifest, files)
})
after(() => server.close())

for (const [encoding, encode] of Object.entries(encoders)) {
  const post = (path: string, body: Buffer | string, headers: Record<string, string>) =>
    fetch(server.url + path, {
      method: 'POST',
      body: encode(Buffer.from(body)) as BodyInit,
      headers: { 'content-encoding': encoding, ...headers },
    })

  test(`${encoding}: JSON, binary data, forms, files that are streamed, and curl’s forms of JSON`, async () => {
    const octets = { 'content-type': 'application/octet-stream' }
    const registered = await post('/api/models/plain/versions', Buffer.from(tinyGraph()), octets)
    assert.equal(registered.status, 201, await registered.text())

    const json = { 'content-type': 'application/json' }
    const said = await post('/api/models/tiny/predict', JSON.stringify({ inputs: 'the fox'.repeat(2000) }), json)
    assert.equal(said.status, 200, await said.text())

    const inputs = [
      { name: 'x', shape: [1, 3], datatype: 'FP32', parameters: { binary_data_size: 12 } },
      { name: 'n', shape: [1], datatype: 'INT64', data: [7] },
    ]
    const head = JSON.stringify({ inputs })
    const tail = Buffer.from(Float32Array.of(1, 2, 3).buffer)
    const length = { 'inference-header-content-length': String(head.length) }
    const infer = Buffer.concat([Buffer.from(head), tail])
    const answer = await post('/v2/models/plain/infer', infer, { ...octets, ...length })
    const { outputs } = (await answer.json()) as { outputs: { data: number[] }[] }
    assert.deepEqual(outputs[0].data, [9, 11, 13])

    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new File(['{}\n'], 'a.jsonl'))
    const parts = new Response(form)
    const type = { 'content-type': parts.headers.get('content-type')! }
    const file = await post('/v1/files', Buffer.from(await parts.arrayBuffer()), type)
    assert.equal(((await file.json()) as { bytes: number }).bytes, 3)

    const curl = { 'content-type': 'application/x-www-form-urlencoded' }
    const predicted = await post('/tfserving/v1/models/tiny:predict', '{"instances": ["x"]}', curl)
    assert.equal(predicted.status, 200, await predicted.text())
  })
}

test('the limit holds for what comes out, and the connection goes on after it', async () => {
  for (const [path, type] of [
    ['/api/models/tiny/predict', 'application/json'],
    ['/v2/models/tiny/infer', 'application/octet-stream'],
  ]) {
    const body = gzipSync(Buffer.alloc(64 << 20, 'x'), { level: 1 })
    const headers = { 'content-encoding': 'gzip', 'content-type': type, 'inference-header-content-length': '9' }
    const answer = await fetch(server.url + path, { method: 'POST', body: body as BodyInit, headers })
    assert.equal(answer.status, 413, await answer.text())
  }
  assert.equal((await fetch(`${server.url}/v2/health/live`)).status, 200)
})
