import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { InferenceClient } from '@huggingface/inference'
import sharp from 'sharp'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyVision } from '../testing/tiny-vision.ts'

let server: TestServer
let dark: Buffer
let light: Buffer

before(async () => {
  const grey = (value: number) =>
    sharp({ create: { width: 9, height: 5, channels: 3, background: { r: value, g: value, b: value } } })
      .png()
      .toBuffer()
  ;[dark, light] = await Promise.all([grey(20), grey(230)])
  server = await startTestServer()
  const { manifest, files } = tinyVision()
  await server.app.house.registry.register('lightness', manifest, files)
})
after(() => server.close())

const post = async (path: string, body: unknown) => {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

test('images through every door: base64, data URLs, and the files themselves as binary data', async () => {
  const [d, l] = [dark.toString('base64'), `data:image/png;base64,${light.toString('base64')}`]
  const expected = ['dark', 'light']
  const hf = (await post('/hf/models/lightness', { inputs: [d, l] })).body as unknown as { label: string }[][]
  assert.deepEqual(
    hf.map(([best]) => best.label),
    expected,
  )
  const rows = (await post('/tfserving/v1/models/lightness:predict', { instances: [{ b64: d }, { image: l }] })).body
  assert.equal(rows.error, undefined)
  assert.deepEqual(
    (rows.predictions as { label: string }[]).map(({ label }) => label),
    expected,
  )
  const table = { columns: ['image'], data: [[d], [l]] }
  const scored = (await post('/mlflow/lightness/invocations', { dataframe_split: table })).body
  assert.deepEqual(
    (scored.predictions as { label: string }[]).map(({ label }) => label),
    expected,
  )

  const head = { name: 'image', datatype: 'BYTES', shape: [2] }
  const typed = (await post('/v2/models/lightness/infer', { inputs: [{ ...head, data: [d, l] }] })).body
  assert.deepEqual((typed.outputs as { data: unknown[] }[])[0].data, expected)
  const parts = [dark, light].flatMap((file) => {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(file.length)
    return [length, file]
  })
  const binary = Buffer.concat(parts)
  const json = Buffer.from(JSON.stringify({ inputs: [{ ...head, parameters: { binary_data_size: binary.length } }] }))
  const response = await fetch(`${server.url}/v2/models/lightness/infer`, {
    method: 'POST',
    body: Buffer.concat([json, binary]),
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(json.length) },
  })
  const { outputs } = (await response.json()) as { outputs: { data: unknown[] }[] }
  assert.deepEqual(outputs[0].data, expected)

  // one image as the body, without a head: what is answered is binary, too
  const raw = await fetch(`${server.url}/v2/models/lightness/infer`, {
    method: 'POST',
    body: dark as BodyInit,
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': '0' },
  })
  const answer = Buffer.from(await raw.arrayBuffer())
  const head0 = JSON.parse(answer.toString('utf8', 0, Number(raw.headers.get('inference-header-content-length'))))
  assert.deepEqual(head0.outputs[0], { ...head0.outputs[0], name: 'label', datatype: 'BYTES', shape: [1] })
  assert.ok(answer.includes('dark'))

  // as Hugging Face's clients send files
  const file = new Blob([light as BlobPart], { type: 'image/png' })
  const byClient = new InferenceClient('none').endpoint(`${server.url}/hf/models/lightness`)
  assert.equal((await byClient.imageClassification({ inputs: file as never }))[0].label, 'light')
})

test('no address is followed, and what is no image is the caller’s error', async () => {
  for (const input of [
    'http://127.0.0.1/x.png',
    'file:///etc/passwd',
    '!!!',
    '',
    Buffer.from('not an image').toString('base64'),
  ]) {
    for (const [path, body] of [
      ['/hf/models/lightness', { inputs: input }],
      ['/tfserving/v1/models/lightness:predict', { inputs: { image: [input] } }],
      ['/v2/models/lightness/infer', { inputs: [{ name: 'image', datatype: 'BYTES', shape: [1], data: [input] }] }],
    ] as const) {
      const answer = await post(path, body)
      assert.equal(answer.status, 400, `${path} ${input}: ${JSON.stringify(answer.body)}`)
      assert.equal(typeof answer.body.error, 'string')
    }
  }
})
