import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { random } from './base/random.ts'
import { TextPipeline } from './data/pipeline.ts'
import { WINDOW } from './drift/sketch.ts'
import { placesAt } from './testing/backends.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { classifierReference } from './train/reference.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-watching-'))
const posted: { state: string; rule: string; model: string }[] = []
const receiver = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  posted.push(JSON.parse(body))
  response.end()
})
let app: App
let athanor: Athanor

const words = ['quick', 'brown', 'fox', 'jumps', 'over', 'lazy', 'dog']
function usual(i: number) {
  const next = random(i)
  return Array.from({ length: 3 + Math.floor(5 * next()) }, () => words[Math.floor(7 * next())]).join(' ')
}
const unusual = (i: number) => `今天天气很好，我们去公园散步${i}`

before(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  const { port } = receiver.address() as { port: number }
  const alertWebhook = `http://127.0.0.1:${port}/hook`
  app = await startApp({
    home,
    ...(await placesAt(home)),
    port: 0,
    logLevel: 'silent',
    keepTexts: true,
    alertWebhook,
    allowedHosts: ['127.0.0.1'],
  })
  athanor = new Athanor({ url: app.url })
  const { manifest, files } = await tinyClassifier()
  const pipeline = TextPipeline.load(manifest.pipeline as never, files['tokenizer.json'].toString())
  await app.house.registry.register('plain', manifest, files)
  // rows of which the model has four of five right
  const texts = Array.from({ length: 400 }, (_, i) => usual(1_000_000 + i))
  const samples = (await athanor.predictAll('plain', texts)).map((ranked, i) => ({
    text: texts[i],
    label: ranked[i % 5 === 0 ? 1 : 0].label,
  }))
  const reference = await classifierReference(files['model.onnx'], pipeline, manifest.labels, samples, 1)
  const accuracy = reference!.accuracy!
  await app.house.registry.register('watched', { ...manifest, metrics: { accuracy }, reference }, files)
})
after(async () => {
  await app.close()
  receiver.close()
  rmSync(home, { recursive: true })
})

const ask = async (count: number, text: (i: number) => string) => {
  for (let start = 0; start < count; start += 125)
    await athanor.predictAll(
      'watched',
      Array.from({ length: 125 }, (_, i) => text(start + i)),
    )
}

test('usual requests raise nothing; other ones raise an alert within two windows, which ends with them', async () => {
  await ask(4 * WINDOW, usual)
  await until(async () => (await athanor.drift('watched')).windows.length === 4)
  const calm = await athanor.drift('watched')
  assert.deepEqual([calm.watched, calm.drifted, await athanor.alerts()], [true, [], []])
  assert.ok(Math.abs(calm.estimatedAccuracy! - calm.reference!.accuracy!) < 0.05)

  await ask(2 * WINDOW, unusual)
  await until(async () => (await athanor.alerts({ open: true })).some(({ rule }) => rule === 'drift'))
  const { drifted, windows } = await athanor.drift('watched')
  const names = drifted.map(({ feature }) => feature)
  for (const feature of ['script', 'tokens']) assert.ok(names.includes(feature), `${feature} in ${names}`)
  assert.equal(windows.at(-1)!.rows, WINDOW)
  assert.match(
    await athanor.metrics(),
    /athanor_drift_distance\{model="watched",version="1",feature="script"\} (0\.9|1)/,
  )

  await ask(2 * WINDOW, usual)
  await until(async () => !(await athanor.alerts({ open: true })).some(({ rule }) => rule === 'drift'))
  await until(async () => posted.filter(({ rule }) => rule === 'drift').length === 2)
  assert.deepEqual(
    posted.filter(({ rule }) => rule === 'drift').map(({ state, model }) => [state, model]),
    [
      ['open', 'watched'],
      ['closed', 'watched'],
    ],
  )
})

test('what was asked is kept by the minute, and told with what the machine uses', async () => {
  const { series } = await athanor.history({ by: ['model', 'door'] })
  const watched = series.find(({ model }) => model === 'watched')!
  assert.deepEqual([watched.door, watched.total.rows, watched.total.errors], ['native', 8 * WINDOW, 0])
  assert.ok(watched.total.latency!.p50 > 0 && watched.points.length >= 1)
  await assert.rejects(athanor.history({ since: 'soon' }), { code: 'BAD_REQUEST' })
  const { server, host, disk } = await athanor.resources()
  assert.ok(server.rss > 0 && host.memory >= host.available)
  assert.equal(disk!.database > 0, (await placesAt(home)).database === undefined, 'what of it is on this disk')
})

test('labels attach to requests, make the accuracy known, and become a data set', async () => {
  await new Promise((resolve) => setTimeout(resolve, 500)) // what was asked before has been written
  const { requestId, outputs } = await athanor.predictDetailed('watched', ['quick fox', 'lazy dog'])
  const told = await athanor.feedback(requestId, outputs[0][0].label)
  assert.deepEqual(told, { model: 'watched', version: 1, predicted: outputs[0][0].label, right: true })
  const wrong = ['a', 'b', 'c'].find((label) => label !== outputs[1][0].label)!
  assert.equal((await athanor.feedback(requestId, wrong, 1)).right, false)
  assert.deepEqual((await athanor.drift('watched')).labelled, { rows: 2, accuracy: 0.5 })
  const { id, rows } = await athanor.feedbackDataset('watched')
  assert.equal(rows, 2)
  assert.ok((await athanor.datasets.list()).some((dataset) => dataset.id === id))

  await assert.rejects(athanor.feedback('req_never', 'a'), { code: 'REQUEST_NOT_FOUND', status: 404 })
  await assert.rejects(athanor.feedback(requestId, 'd'), { code: 'LABEL_UNKNOWN' })
  await assert.rejects(athanor.feedbackDataset('plain'), { code: 'FEEDBACK_MISSING' })
  assert.equal((await athanor.drift('plain')).watched, false)
})

test('an alert can be silenced; a webhook whose host is not allowed is refused at the start', async () => {
  const [alert] = await athanor.alerts()
  await athanor.silence(alert.id)
  assert.equal((await athanor.alerts())[0].silenced, true)
  await assert.rejects(athanor.silence(999_999), { code: 'ALERT_NOT_FOUND' })
  const bad = (alertWebhook: string) =>
    startApp({ home: join(home, 'other'), port: 0, alertWebhook, allowedHosts: ['a'] })
  for (const address of ['http://127.0.0.1/x', 'ftp://a/x', 'nonsense'])
    await assert.rejects(bad(address), { code: 'OPTION_INVALID' })
})

async function until(reached: () => Promise<boolean>) {
  for (let tries = 0; tries < 400; tries++) {
    if (await reached()) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  assert.fail('it did not come to that')
}
