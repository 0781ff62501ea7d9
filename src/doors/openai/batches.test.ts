import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import OpenAI, { toFile } from 'openai'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { homeWithKeys } from '../../testing/tenants.ts'
import { tinyContinuation, tinyDecoder } from '../../testing/tiny-decoder.ts'

let server: TestServer
let openai: OpenAI
before(async () => {
  server = await startTestServer()
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  for (const [name, slow] of [
    ['writer', 0],
    ['slow', 600],
  ] as const) {
    const { manifest, files } = tinyDecoder({ slow })
    await server.app.house.registry.register(name, manifest, files)
  }
})
after(() => server.close())

const line = (custom_id: string, body: object, url = '/v1/completions') =>
  JSON.stringify({ custom_id, method: 'POST', url, body })
async function send(lines: string[], endpoint: '/v1/completions' | '/v1/embeddings' = '/v1/completions') {
  const file = await openai.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'batch.jsonl'),
    purpose: 'batch',
  })
  return openai.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h', metadata: { a: 'b' } })
}
async function end(id: string) {
  for (;;) {
    const batch = await openai.batches.retrieve(id)
    if (['completed', 'failed', 'cancelled'].includes(batch.status)) return batch
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
const rows = async (file: string) =>
  (await (await openai.files.content(file)).text())
    .trim()
    .split('\n')
    .map(
      (text) => JSON.parse(text) as { custom_id: string; response: { status_code: number; body: OpenAI.Completion } },
    )

test('each line is answered; what is wrong with one is told in the errors’ file', async () => {
  const ask = (prompt: string) => ({ model: 'writer', prompt, temperature: 0, max_tokens: 8 })
  const prompts = Array.from({ length: 20 }, (_, i) => `prompt ${i}`)
  const lines = prompts.map((prompt, i) => line(`r${i}`, ask(prompt)))
  const sent = await send([...lines, line('none', { ...ask('x'), model: 'nothing' }), line('bad', { model: 'writer' })])
  assert.deepEqual([sent.object, sent.status, sent.metadata], ['batch', 'validating', { a: 'b' }])
  const batch = await end(sent.id)
  assert.equal(batch.status, 'completed')
  assert.deepEqual(batch.request_counts, { total: 22, completed: 20, failed: 2 })
  const output = new Map((await rows(batch.output_file_id!)).map((row) => [row.custom_id, row.response]))
  for (const [i, prompt] of prompts.entries())
    assert.equal(output.get(`r${i}`)!.body.choices[0].text, tinyContinuation(prompt, 8))
  const errors = (await rows(batch.error_file_id!)).map((row) => [row.custom_id, row.response.status_code])
  assert.deepEqual(errors.sort(), [
    ['bad', 400],
    ['none', 404],
  ])
  assert.ok((await openai.batches.list()).data.some(({ id }) => id === batch.id))
})

test('a file that is not what it should be fails as a whole, with its lines', async () => {
  const good = line('a', { model: 'writer', prompt: 'x' })
  const batch = await end(
    (await send([good, good, '{', line('b', {}, '/v1/embeddings'), line('c', { stream: true })])).id,
  )
  assert.equal(batch.status, 'failed')
  assert.deepEqual(
    batch.errors!.data!.map(({ line: at, code }) => [at, code]),
    [
      [2, 'duplicate_custom_id'],
      [3, 'invalid_json_line'],
      [4, 'mismatched_endpoint'],
      [5, 'invalid_body'],
    ],
  )
  const file = await openai.files.create({ file: await toFile(Buffer.from(good), 'x.jsonl'), purpose: 'fine-tune' })
  const create = { input_file_id: file.id, endpoint: '/v1/completions' as const, completion_window: '24h' as const }
  await assert.rejects(openai.batches.create(create), { status: 400, param: 'input_file_id' })
  await assert.rejects(openai.batches.create({ ...create, endpoint: '/v1/files' as never }), { status: 400 })
  await assert.rejects(openai.batches.retrieve('batch_none'), { status: 404 })
})

test('a cancelled batch keeps what was answered', async () => {
  const body = { model: 'slow', prompt: 'x', max_tokens: 4 }
  const { id } = await send(Array.from({ length: 400 }, (_, i) => line(`r${i}`, body)))
  while ((await openai.batches.retrieve(id)).request_counts!.completed === 0)
    await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal((await openai.batches.cancel(id)).status, 'cancelling')
  const batch = await end(id)
  assert.equal(batch.status, 'cancelled')
  const { completed, total } = batch.request_counts!
  assert.ok(completed > 0 && completed < total, `${completed} of ${total}`)
  assert.equal((await rows(batch.output_file_id!)).length, completed)
  assert.equal((await openai.batches.cancel(id)).status, 'cancelled')
})

test('lines are asked as who sent the batch, also with a key of another name and for another tenant', async () => {
  const { home, places, keys } = await homeWithKeys({
    operator: { name: 'operator', role: 'admin', tenant: 'default' },
    user: { name: 'user', role: 'user', tenant: 'shop' },
  })
  const guarded = await startTestServer({ home, ...places, requireKeys: true })
  const caller = openai
  try {
    const { manifest, files } = tinyDecoder()
    await (await guarded.app.houseOf('shop')).registry.register('writer', manifest, files)
    const defaultHeaders = { authorization: null, 'x-api-key': keys.operator, 'x-athanor-tenant': 'shop' }
    openai = new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey: 'none', maxRetries: 0, defaultHeaders })
    const sent = await send([line('one', { model: 'writer', prompt: 'the', temperature: 0, max_tokens: 4 })])
    const batch = await end(sent.id)
    assert.deepEqual(batch.request_counts, { total: 1, completed: 1, failed: 0 })
  } finally {
    openai = caller
    await guarded.close()
  }
})
