import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Athanor, AthanorError } from '../../client/src/index.ts'
import { type App, startApp } from '../app.ts'
import { writeModel } from '../graph/codec.ts'
import { placesAt } from '../testing/backends.ts'
import { startHub } from '../testing/hub-server.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { madeVariants } from '../testing/variants.ts'
import { writeFolder } from './huggingface/write.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-formats-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  for (const { name, manifest, model, tokenizer } of (await madeVariants()).slice(0, 1)) {
    const files = { 'model.onnx': writeModel(model), 'tokenizer.json': Buffer.from(tokenizer) }
    await app.house.registry.register(name, manifest, files)
  }
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
const example = (name: string) => new Uint8Array(readFileSync(new URL(`../../examples/keras/${name}`, import.meta.url)))
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream as BodyInit).arrayBuffer())
}

test('a model.h5 with its tokenizer is sent, served and answers as Keras did', async () => {
  const tokenizer = new TextDecoder().decode(example('tokenizer.json'))
  const detail = await client.models.importFiles(
    'reviews',
    { 'model.h5': example('model.h5') },
    { tokenizer, labels: ['bad', 'good'], description: 'two sentences' },
  )
  assert.deepEqual([detail.manifest.task, detail.manifest.family], ['text-classification', 'keras-h5'])
  const { texts, probabilities } = JSON.parse(new TextDecoder().decode(example('expected.json')))
  const answers = await client.predictAll('reviews', texts)
  answers.forEach((ranked, i) => {
    const good = ranked.find(({ label }) => label === 'good')!.score
    assert.ok(Math.abs(good - probabilities[i]) <= 1e-5, `${texts[i]}: ${good}, Keras ${probabilities[i]}`)
  })
})

test('a version is written in every format that can say it, and read again', async () => {
  const texts = ['w1 w2 sun', '今天 rain w7', 'x']
  const expected = await client.predictAll('lstm', texts)
  for (const { name, writes, reads } of await client.formats()) {
    if (!writes || !reads) continue
    if (name === 'huggingface' || name === 'gguf') {
      // for encoders and decoders alone
      await assert.rejects(client.models.export('lstm@1', name), code('UNSUPPORTED', 'lstm'))
      continue
    }
    const { files } = await client.models.export('lstm@1', name)
    const content: Record<string, Uint8Array<ArrayBuffer>> = {}
    for (const { name: file, digest, bytes } of files) {
      const whole = await bytesOf(await client.files.download(digest))
      assert.deepEqual([whole.byteLength, sha(whole)], [bytes, digest])
      content[file] = new Uint8Array(whole)
    }
    if (name === 'savedmodel' || name === 'tfjs-graph') {
      // its LSTM is a loop of TensorFlow 1 there
      await assert.rejects(client.models.importFiles(`again-${name}`, content), code('UNSUPPORTED', 'Enter'))
      continue
    }
    await assert.rejects(client.models.importFiles(`again-${name}`, content), code('TASK_UNKNOWN', '--tokenizer'))
    const { manifest } = await client.models.importFiles(`again-${name}`, content, { task: 'tensor' })
    assert.equal(manifest.task, 'tensor', name)
  }
  assert.equal(expected.length, 3)
  await assert.rejects(client.models.export('lstm', 'kreas'), code('OPTION_INVALID', 'keras'))
  await assert.rejects(client.models.export('none', 'keras'), code('MODEL_NOT_FOUND'))
})

test('an upload whose connection breaks goes on where it stopped', async () => {
  const content = new Uint8Array(3_000_000).map((_, i) => i % 241)
  const digest = sha(content)
  const broken = request(`${app.url}/api/files/${digest}?offset=0&bytes=${content.length}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream', 'content-length': content.length },
  })
  broken.on('error', () => undefined)
  broken.write(content.subarray(0, 2_000_000))
  let offset = 0
  for (let i = 0; i < 400 && offset === 0; i++) {
    await setTimeout(10)
    ;({ offset } = await client.files.begin(digest, content.length))
  }
  broken.destroy()
  assert.ok(offset > 0 && offset <= 2_000_000, `${offset} bytes are here`)
  // the server may still be busy with what came before the break
  const upload = async (tries: number): Promise<string> =>
    client.files.upload(content).catch(async (error) => {
      if (tries === 0) throw error
      await setTimeout(50)
      return upload(tries - 1)
    })
  assert.equal(await upload(100), digest)
  assert.equal(sha(await bytesOf(await client.files.download(digest))), digest)
})

test('a published model is fetched by the server where its operator allows it, a part a request', async (t) => {
  const encoder = tinyEncoder(['a b'], { task: 'text-classification', classes: 2 }, { labels: ['bad', 'good'] })
  const files = [...writeFolder(encoder)].map(([name, content]) => [name, Buffer.from(content)] as const)
  const hub = await startHub(Object.fromEntries(files), { token: 'secret' })
  Object.assign(process.env, { ATHANOR_HF_ENDPOINT: hub.url, HF_TOKEN: 'secret' })
  t.after(() => {
    for (const name of ['ATHANOR_HF_ENDPOINT', 'HF_TOKEN']) delete process.env[name]
    hub.close()
  })
  await assert.rejects(client.models.importFrom('away', 'hf:owner/name'), code('FETCH_FORBIDDEN', 'ATHANOR_FETCH'))
  assert.equal(hub.asked.length, 0)
  const { config } = app.house
  const { fetch } = config
  Object.assign(config, { fetch: ['hf'] })
  t.after(() => Object.assign(config, { fetch }))
  await assert.rejects(client.files.fetch('npm:@some/models@1.2.3'), code('FETCH_FORBIDDEN', 'npm:'))
  for (const wrong of ['http://127.0.0.1/x', 'hf:../x', 'file:///etc/passwd'])
    await assert.rejects(client.files.fetch(wrong), code('OPTION_INVALID'), wrong)
  await assert.rejects(client.files.fetch('hf:owner/none'), code('HUB_LACKS'))
  hub.faults.changed = true
  await assert.rejects(client.files.fetch('hf:owner/name'), code('FILE_DIFFERS'))
  hub.faults.changed = false
  hub.asked.length = 0

  // time flies: a piece of each large file a request
  let time = performance.now()
  t.mock.method(performance, 'now', () => (time += 60_000))
  const told: number[] = []
  const { source } = await client.files.fetch('hf:owner/name', { watch: (missing) => told.push(missing) })
  t.mock.restoreAll()
  assert.equal(source, `hf:owner/name@${hub.commit}`)
  assert.ok(told.length > 1 && told.every((missing, i) => i === 0 || missing < told[i - 1]), told.join())
  assert.ok(hub.asked.filter((one) => / bytes=[1-9]/.test(one)).length > 0, 'goes on where it was')

  hub.asked.length = 0
  const { manifest } = await client.models.importFrom('away', source)
  assert.deepEqual(manifest.lineage.options, { format: 'huggingface', source })
  assert.ok(!hub.asked.some((one) => one.startsWith('storage')), 'what is here is not fetched again')
  assert.equal((await client.predict('away', 'a b')).length, 2)
})

test('files go on from where they broke off, and are what their digest says', async () => {
  const content = new Uint8Array(100_000).map((_, i) => i % 251)
  const digest = sha(content)
  const state = await client.files.begin(digest, content.length)
  assert.equal(state.offset, 0)
  const half = await client.files.send(state, content.subarray(0, 40_000))
  assert.equal(half.offset, 40_000)
  await assert.rejects(client.files.send(state, content), code('BAD_REQUEST', '40000'))
  await assert.rejects(client.files.download(digest), code('FILE_NOT_FOUND'))
  assert.equal(await client.files.upload(content), digest)
  assert.equal((await client.files.begin(digest, content.length)).offset, content.length)
  assert.equal(sha(await bytesOf(await client.files.download(digest, 99_000))), sha(content.subarray(99_000)))
  const wrong = sha(new Uint8Array(3))
  await assert.rejects(
    client.files.send({ digest: wrong, bytes: 4, offset: 0 }, content.subarray(0, 4)),
    code('FILE_DIFFERS'),
  )
  await assert.rejects(client.files.send({ digest: wrong, bytes: 4, offset: 0 }, content), code('BODY_TOO_LARGE'))
  await assert.rejects(client.files.begin('zz', 4), code('BAD_REQUEST'))
  await assert.rejects(client.models.importSent('x', [{ name: 'a', digest: wrong }]), code('FILE_NOT_FOUND'))
  await assert.rejects(
    client.models.importSent('x', [{ name: '../a', digest }]),
    code('FORMAT_INVALID', 'plain relative'),
  )
  await assert.rejects(client.models.importFiles('x', { 'a.onnx': content }), code('MODEL_INVALID'))
})
