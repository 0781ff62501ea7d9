import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { Athanor, AthanorError } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { placesAt } from './testing/backends.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-vision-'))
const home = join(root, 'home')
const bin = fileURLToPath(new URL('../bin/athanor.js', import.meta.url))
const stripes = join(root, 'stripes')
let app: App
let client: Athanor

/** Grey stripes along rows or columns, of a phase and strength that a number decides. */
function picture(along: 'rows' | 'columns', k: number) {
  const data = Uint8Array.from({ length: 144 }, (_, i) => {
    const place = along === 'rows' ? Math.floor(i / 12) : i % 12
    return 90 + 60 * Math.sin(place * 1.3 + k * 0.7) + ((i * 31 + k * 17) % 40)
  })
  return sharp(data, { raw: { width: 12, height: 12, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer()
}

before(async () => {
  for (const along of ['rows', 'columns'] as const) {
    mkdirSync(join(stripes, along), { recursive: true })
    for (let k = 0; k < 60; k++) writeFileSync(join(stripes, along, `${k}.png`), await picture(along, k))
  }
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
})
after(async () => {
  await app.close()
  rmSync(root, { recursive: true, force: true })
})

/** Runs the command line against this server; throws with its output when it fails. */
async function athanor<T>(...args: string[]): Promise<T> {
  const env = { ...process.env, ATHANOR_HOME: home, CI: '1' }
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args, '--json'], { env })
  return JSON.parse(stdout) as T
}
const settings = (...list: string[]) => list.flatMap((setting) => ['--set', setting])
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)

test('a folder of images is trained on, served, run and evaluated', async () => {
  const options = settings('width=4', 'epochs=6', 'batchSize=16', 'shift=1')
  const { model, family, metrics } = await athanor<{ model: string; family: string; metrics: Record<string, number> }>(
    ...['train', stripes, ...options],
  )
  assert.deepEqual([model, family], ['stripes', 'resnet'])
  assert.ok(metrics.accuracy > 0.9, JSON.stringify(metrics))
  const { manifest } = await client.models.show('stripes')
  assert.equal(manifest.task, 'image-classification')
  assert.deepEqual(manifest.labels, ['columns', 'rows'])
  assert.deepEqual([manifest.pipeline!.height, manifest.pipeline!.channels], [12, 1])
  assert.equal((manifest.data as { rowsRead: number }).rowsRead, 120)

  const file = join(root, 'new.png')
  writeFileSync(file, await picture('rows', 200))
  const [best] = await athanor<{ label: string; score: number }[]>('run', 'stripes', file)
  assert.equal(best.label, 'rows')
  const evaluated = await athanor<{ metrics: { accuracy: number }; rows: number }>('evaluate', 'stripes', stripes)
  assert.ok(evaluated.rows === 120 && evaluated.metrics.accuracy > 0.9)
})

test('an image gets the same answer as a file, in base64, in a form, alone or among others', async () => {
  const bytes = await picture('columns', 300)
  const alone = await client.classifyImage('stripes', bytes)
  assert.equal(alone[0].label, 'columns')
  const ask = (body: unknown) =>
    fetch(`${app.url}/api/models/stripes/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const others = await Promise.all([1, 2, 3].map((k) => picture('rows', k)))
  const base64 = [bytes, ...others].map((image) => image.toString('base64'))
  base64[1] = `data:image/png;base64,${base64[1]}`
  const { outputs } = (await (await ask({ inputs: base64 })).json()) as {
    outputs: { label: string; score: number }[][]
  }
  assert.deepEqual(
    outputs.map(([first]) => first.label),
    ['columns', 'rows', 'rows', 'rows'],
  )
  assert.ok(Math.abs(outputs[0][0].score - alone[0].score) < 1e-5)

  const form = new FormData()
  for (const image of [bytes, others[0]]) form.append('files', new Blob([new Uint8Array(image)]), 'x.png')
  form.append('note', 'a field')
  const url = `${app.url}/api/models/stripes/images`
  const answered = (await (await fetch(`${url}?topK=1`, { method: 'POST', body: form })).json()) as typeof outputs & {
    outputs: typeof outputs
  }
  assert.deepEqual(
    answered.outputs.map((ranked) => ranked.map(({ label }) => label)),
    [['columns'], ['rows']],
  )
  const raw = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: new Uint8Array(bytes),
  })
  assert.equal(raw.status, 200)

  const refusal = async (response: Response | Promise<Response>) => {
    const { error } = (await (await response).json()) as { error: { code: string; message: string } }
    return `${error.code}: ${error.message}`
  }
  assert.match(await refusal(ask({ inputs: 'http://127.0.0.1/cat.png' })), /BAD_REQUEST: .*not fetched/)
  assert.match(await refusal(ask({ inputs: 'file:///etc/passwd' })), /BAD_REQUEST: .*not fetched/)
  assert.match(await refusal(ask({ inputs: ['not base64!'] })), /BAD_REQUEST: inputs\[0\]: expected an image in base64/)
  assert.match(await refusal(ask({ inputs: 'aGVsbG8=' })), /IMAGE_INVALID/)
  assert.match(await refusal(ask({ inputs: { x: { shape: [1], data: [1] } } })), /BAD_REQUEST: .*takes images/)
  const post = (headers: Record<string, string>, body: BodyInit) => fetch(url, { method: 'POST', headers, body })
  assert.match(await refusal(post({ 'content-type': 'image/png' }, 'hello')), /IMAGE_INVALID/)
  assert.match(await refusal(post({ 'content-type': 'image/png' }, '')), /IMAGE_INVALID/)
  assert.match(await refusal(post({ 'content-type': 'multipart/form-data; boundary=x' }, 'torn')), /BAD_REQUEST/)
  assert.match(await refusal(post({ 'content-type': 'multipart/form-data' }, 'torn')), /BAD_REQUEST/)
  assert.match(await refusal(post({ 'content-type': 'image/png', origin: 'http://evil.example' }, 'x')), /another site/)
  const large = new Uint8Array((32 << 20) + 10)
  assert.match(await refusal(post({ 'content-type': 'image/png' }, large)), /BODY_TOO_LARGE/)
  // a bad image among good ones fails its own request alone
  const [bad, good] = await Promise.allSettled([
    client.classifyImage('stripes', Buffer.from('x')),
    client.classifyImage('stripes', bytes),
  ])
  assert.ok(bad.status === 'rejected' && code('IMAGE_INVALID')(bad.reason))
  assert.ok(good.status === 'fulfilled')
})

test('a run on images that is stopped goes on to the same weights', async () => {
  const start = () =>
    client.runs.create({
      name: 'again',
      dataset,
      seed: 5,
      options: { width: 4, epochs: 3, batchSize: 16, flip: true, threads: 1 },
    })
  const { id: dataset } = (await client.datasets.list())[0]
  const end = async (run: string) => {
    for await (const event of client.runs.events(run)) if (event.type === 'done') return event.version
    return undefined
  }
  const whole = await end((await start()).run)
  const { run } = await start()
  for await (const event of client.runs.events(run)) if (event.type === 'epoch') break
  await client.runs.interrupt(run)
  if ((await client.runs.get(run)).state === 'interrupted') await client.runs.resume(run)
  const resumed = await end(run)
  const [a, b] = await Promise.all(
    [whole, resumed].map((version) => client.models.file(`again@${version}`, 'model.onnx')),
  )
  assert.deepEqual(Buffer.from(a), Buffer.from(b))
})
