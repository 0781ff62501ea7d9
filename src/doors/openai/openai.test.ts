import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import OpenAI, { toFile } from 'openai'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { tinyClassifier } from '../../testing/tiny.ts'

let server: TestServer
let openai: OpenAI
before(async () => {
  server = await startTestServer()
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const { registry } = server.app.house
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', manifest, files)
  const guard = await tinyClassifier({ labels: ['ok', 'insult', 'threat'] })
  await registry.register('guard', guard.manifest, guard.files)
})
after(() => server.close())

/** Waits for the error of a call and gives its parts. */
async function refused(call: Promise<unknown>) {
  try {
    await call
  } catch (error) {
    assert.ok(error instanceof OpenAI.APIError, String(error))
    const { status, code, param, type, message } = error
    return { status, code, param, type, message, requestID: error.requestID }
  }
  assert.fail('it was not refused')
}
const post = (path: string, body: unknown) =>
  fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

test('models: list, retrieve, delete; an unknown one is refused with a suggestion', async () => {
  const ids: string[] = []
  for await (const model of openai.models.list()) ids.push(model.id)
  assert.deepEqual(ids.sort(), ['guard', 'tiny'])
  const model = await openai.models.retrieve('tiny@1')
  assert.deepEqual([model.id, model.object, model.owned_by], ['tiny@1', 'model', 'athanor'])
  assert.ok(Math.abs(model.created - Date.now() / 1000) < 60)
  for (const name of ['tinny', 'someone/Tinny']) {
    const error = await refused(openai.models.retrieve(name))
    assert.deepEqual(
      [error.status, error.code, error.type, error.param],
      [404, 'model_not_found', 'invalid_request_error', null],
    )
    assert.match(error.message, /Did you mean "tiny"/)
    assert.match(error.requestID ?? '', /^req_/)
  }
  const { manifest, files } = await tinyClassifier()
  await server.app.house.registry.register('gone', manifest, files)
  assert.equal((await openai.models.delete('gone')).deleted, true)
  assert.equal((await refused(openai.models.retrieve('gone'))).status, 404)
})

test('moderations: by name or by alias; categories are the labels that object', async () => {
  assert.match((await refused(openai.moderations.create({ input: 'x' }))).message, /alias "moderation"/)
  await server.app.house.registry.setAlias('guard', 'moderation', 1)
  for (const model of [undefined, 'omni-moderation-latest', 'guard']) {
    const { results } = await openai.moderations.create({ input: ['a b c', 'x'], ...(model && { model }) })
    assert.equal(results.length, 2)
    for (const result of results) {
      const scores = result.category_scores as unknown as Record<string, number>
      const categories = result.categories as unknown as Record<string, boolean>
      assert.deepEqual(Object.keys(scores), ['insult', 'threat'])
      assert.equal(result.flagged, categories.insult || categories.threat)
      for (const label of ['insult', 'threat']) assert.equal(categories[label], scores[label] >= 0.5)
    }
  }
  const error = await refused(openai.moderations.create({ input: 'x', model: 'tiny' }))
  assert.deepEqual([error.status, error.param], [400, 'model'])
})

test('classify, as vLLM has it', async () => {
  const { data } = (await (await post('/classify', { model: 'tiny', input: ['the fox', '今天'] })).json()) as {
    data: { index: number; label: string; probs: number[]; num_classes: number }[]
  }
  assert.deepEqual(
    data.map(({ index, num_classes }) => [index, num_classes]),
    [
      [0, 3],
      [1, 3],
    ],
  )
  for (const { label, probs } of data) {
    assert.ok(Math.abs(probs.reduce((a, b) => a + b) - 1) < 1e-5)
    assert.equal(['a', 'b', 'c'][probs.indexOf(Math.max(...probs))], label)
  }
  const { error } = (await (await post('/classify', { model: 'tiny' })).json()) as { error: Record<string, string> }
  assert.deepEqual([error.type, error.param], ['invalid_request_error', 'input'])
})

test('files: upload, list, content, delete, and what is wrong with a form', async () => {
  const content = '{"text":"a","label":"b"}\n'
  const file = await openai.files.create({
    file: await toFile(Buffer.from(content), 'rows.jsonl'),
    purpose: 'fine-tune',
  })
  assert.deepEqual([file.object, file.bytes, file.filename, file.purpose], ['file', 25, 'rows.jsonl', 'fine-tune'])
  const second = await openai.files.create({ purpose: 'batch', file: await toFile(Buffer.from('{}'), '../../b.jsonl') })
  assert.equal(second.filename, 'b.jsonl')
  const listed: string[] = []
  for await (const { id } of openai.files.list({ purpose: 'batch' })) listed.push(id)
  assert.deepEqual(listed, [second.id])
  assert.equal((await openai.files.list({ limit: 1 })).has_more, true)
  assert.equal(await (await openai.files.content(file.id)).text(), content)
  assert.equal((await openai.files.retrieve(file.id)).id, file.id)
  assert.ok(
    (await server.app.house.datasets.list()).some(({ id }) => id === file.id),
    'a file is a data set',
  )
  assert.equal((await openai.files.delete(file.id)).deleted, true)
  assert.equal((await refused(openai.files.retrieve(file.id))).status, 404)
  assert.equal((await refused(openai.files.retrieve('file-none'))).status, 404)

  const bad = await refused(
    openai.files.create({ file: await toFile(Buffer.from('x'), 'x.jsonl'), purpose: 'nonsense' as 'batch' }),
  )
  assert.deepEqual([bad.status, bad.param], [400, 'purpose'])
  assert.equal((await openai.files.list()).data.length, 1, 'what was refused is not kept')
  const cases: [BodyInit, string, string?][] = [
    [
      '--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\ncut off',
      'multipart/form-data; boundary=x',
    ],
    ['', 'multipart/form-data'],
    ['nothing of the kind', 'multipart/form-data; boundary=x'],
    ['{}', 'application/json'],
    [
      '--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n',
      'multipart/form-data; boundary=x',
    ],
    ['--x--\r\n', 'multipart/form-data; boundary=x', 'https://elsewhere.example'],
  ]
  for (const [body, type, origin] of cases) {
    const response = await fetch(`${server.url}/v1/files`, {
      method: 'POST',
      body,
      headers: { 'content-type': type, ...(origin && { origin }) },
    })
    const { error } = (await response.json()) as { error: { type: string; message: string } }
    assert.deepEqual([response.status, error.type], [400, 'invalid_request_error'], `${body}: ${error.message}`)
  }
  assert.equal((await openai.files.list()).data.length, 1)
})

test('fine-tuning: a job from conversations to a served model', async () => {
  const lines = Array.from({ length: 60 }, (_, i) =>
    JSON.stringify({
      messages: [
        { role: 'system', content: 'Say good or bad.' },
        { role: 'user', content: i % 2 ? `what a lovely film number ${i}` : `an awful waste of ${i} hours` },
        { role: 'assistant', content: i % 2 ? 'good' : 'bad' },
      ],
    }),
  ).join('\n')
  const file = await openai.files.create({
    file: await toFile(Buffer.from(lines), 'films.jsonl'),
    purpose: 'fine-tune',
  })
  const job = await openai.fineTuning.jobs.create({
    model: 'bow',
    training_file: file.id,
    suffix: 'films',
    seed: 3,
    method: {
      type: 'supervised',
      supervised: { hyperparameters: { n_epochs: 6, batch_size: 8, learning_rate_multiplier: 2 } },
    },
  })
  assert.deepEqual([job.object, job.model, job.seed, job.fine_tuned_model], ['fine_tuning.job', 'bow', 3, null])
  let now = job
  while (now.finished_at === null) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    now = await openai.fineTuning.jobs.retrieve(job.id)
  }
  assert.equal(now.status, 'succeeded', JSON.stringify(now.error))
  assert.equal(now.fine_tuned_model, 'films@1')
  const run = await server.app.house.runs.get(job.id)
  assert.deepEqual(run.spec.options, { epochs: 6, batchSize: 8, learningRate: 0.01 })

  const events = []
  for await (const event of openai.fineTuning.jobs.listEvents(job.id, { limit: 3 })) events.push(event)
  assert.ok(events.length > 6, 'pages are followed')
  assert.match(events.at(-1)?.message ?? '', /queued/)
  assert.ok(
    events.some(
      ({ type, data }) => type === 'metrics' && typeof (data as { train_loss: number }).train_loss === 'number',
    ),
  )
  const { data } = await openai.fineTuning.jobs.checkpoints.list(job.id)
  assert.equal(data[0].fine_tuned_model_checkpoint, 'films@1')
  assert.ok(data[0].metrics.train_loss !== undefined)

  const answer = await post('/classify', { model: now.fine_tuned_model, input: 'such a lovely film' })
  assert.equal(((await answer.json()) as { data: { label: string }[] }).data[0].label, 'good')
  assert.ok((await openai.fineTuning.jobs.list()).data.some(({ id }) => id === job.id))
  assert.equal((await openai.fineTuning.jobs.cancel(job.id)).status, 'succeeded', 'what has ended stays so')

  const base = { training_file: file.id, model: 'bow' }
  const wrong: [() => Promise<unknown>, number, string | null][] = [
    [() => openai.fineTuning.jobs.create({ ...base, model: 'gpt-4o' }), 400, 'model'],
    [() => openai.fineTuning.jobs.create({ ...base, training_file: 'file-none' }), 404, null],
    [() => openai.fineTuning.jobs.create({ ...base, suffix: 'not a name!' }), 400, null],
    [() => openai.fineTuning.jobs.create({ ...base, method: { type: 'dpo' } }), 400, 'method'],
    [
      () => openai.fineTuning.jobs.create({ ...base, hyperparameters: { n_epochs: 0 } }),
      400,
      'hyperparameters.n_epochs',
    ],
    [() => openai.fineTuning.jobs.retrieve('ftjob-none'), 404, null],
    [() => openai.fineTuning.jobs.resume(job.id), 400, null],
  ]
  for (const [call, status, param] of wrong) {
    const error = await refused(call())
    assert.equal(error.status, status, error.message)
    if (param) assert.equal(error.param, param)
  }
})

test('what is no route or no JSON is told in the protocol’s own shape', async () => {
  const answers = [
    await fetch(`${server.url}/v1/nothing`),
    await fetch(`${server.url}/v1/moderations`, {
      method: 'POST',
      body: '{',
      headers: { 'content-type': 'application/json' },
    }),
    await post('/v1/moderations', { input: 5 }),
  ]
  for (const answer of answers) {
    const { error } = (await answer.json()) as { error: Record<string, unknown> }
    assert.ok(answer.status === 404 || answer.status === 400)
    assert.equal(error.type, 'invalid_request_error')
    assert.ok(error.message && error.code && 'param' in error)
  }
})
