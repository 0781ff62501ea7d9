import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  type Client,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import OpenAI from 'openai'
import { Athanor } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { homeWithKeys } from './testing/tenants.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { tinyDecoder } from './testing/tiny-decoder.ts'
import { tinyEmbedder } from './testing/tiny-embedder.ts'

const { home, places, keys } = await homeWithKeys({
  operator: { name: 'operator', role: 'admin', tenant: 'default' },
  user: { name: 'user', role: 'user', tenant: 'acme' },
  bounded: { name: 'bounded', role: 'user', tenant: 'acme', limits: { requestsPerMinute: 3 } },
})
let app: App
let grpc: Client & Record<string, (...given: unknown[]) => void>
let operator: Athanor
before(async () => {
  app = await startApp({
    home,
    ...places,
    port: 0,
    logLevel: 'silent',
    requireKeys: true,
    deadline: 600_000,
    doorPorts: [{ name: 'grpc', port: 0 }],
  })
  const { registry } = await app.houseOf('acme')
  for (const [name, { manifest, files }] of Object.entries({
    tiny: await tinyClassifier(),
    vectors: await tinyEmbedder(),
    writer: tinyDecoder({ chatTemplate: '{{ messages[0].content }}' }),
  }))
    await registry.register(name, manifest, files)
  const proto = fileURLToPath(new URL('../tools/proto-inference/inference.proto', import.meta.url))
  const service = loadSync(proto, { keepCase: true, longs: Number, defaults: true, enums: String })
  const GrpcClient = makeGenericClientConstructor(
    service['inference.GRPCInferenceService'] as never,
    'GRPCInferenceService',
  )
  grpc = new GrpcClient(`127.0.0.1:${app.doorPorts[0].port}`, credentials.createInsecure()) as never
  operator = new Athanor({ url: app.url, key: keys.operator })
  await operator.prices.set('acme', '*', { request: 1 })
})
after(async () => {
  grpc.close()
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

const post = async (path: string, body: unknown, key = keys.user) => {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` }
  const response = await fetch(app.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, headers: response.headers, text: await response.text() }
}
const said = 'the budget of the tenant \\"acme\\"'
const quoted = new RegExp(`^\\{"error":"${said.replaceAll('\\', '\\\\')}`)
const texts = [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['x'] }]

/** A request of each way to ask a model, and how a refusal looks there. */
const ways: [path: string, body: object, refusal: RegExp][] = [
  ['/api/models/tiny/predict', { inputs: 'x' }, /"code":"BUDGET_SPENT","status":429/],
  ['/api/models/writer/generate', { prompt: 'x', parameters: { maxTokens: 2 } }, /"code":"BUDGET_SPENT","status":429/],
  ['/api/models/writer/generate', { prompt: 'x', stream: true, parameters: { maxTokens: 2 } }, /"code":"BUDGET_SPENT"/],
  ['/v2/models/tiny/infer', { inputs: texts }, quoted],
  ['/v2/models/writer/generate', { text_input: 'x', parameters: { max_tokens: 2 } }, quoted],
  ['/v2/models/writer/generate_stream', { text_input: 'x', parameters: { max_tokens: 2 } }, quoted],
  ['/classify', { model: 'tiny', input: 'x' }, /"type":"insufficient_quota"/],
  ['/v1/embeddings', { model: 'vectors', input: 'x' }, /"code":"insufficient_quota"/],
  ['/rerank', { model: 'vectors', query: 'x', documents: ['x'] }, /"code":"insufficient_quota"/],
  ['/v1/completions', { model: 'writer', prompt: 'x', max_tokens: 2 }, /"code":"insufficient_quota"/],
  [
    '/v1/chat/completions',
    { model: 'writer', messages: [{ role: 'user', content: 'x' }], max_tokens: 2 },
    /insufficient_q/,
  ],
  ['/v1/responses', { model: 'writer', input: 'x', max_output_tokens: 16 }, /"code":"insufficient_quota"/],
  ['/hf/models/tiny', { inputs: 'x' }, quoted],
  ['/tei/tiny/predict', { inputs: 'x' }, /"error_type":"Overloaded"/],
  ['/tei/vectors/embed', { inputs: 'x' }, /"error_type":"Overloaded"/],
  ['/tfserving/v1/models/tiny:predict', { instances: ['x'] }, quoted],
  ['/mlflow/tiny/invocations', { inputs: ['x'] }, /"error_code":"REQUEST_LIMIT_EXCEEDED"/],
  ['/ollama/api/generate', { model: 'writer', prompt: 'x', stream: false, options: { num_predict: 2 } }, quoted],
  ['/ollama/api/embed', { model: 'vectors', input: 'x' }, quoted],
]
const tool = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'tiny', arguments: { text: 'x' } } }
const infer = (): Promise<{ code: number; told: string; retry: string }> =>
  new Promise((resolve) => {
    const metadata = new Metadata()
    metadata.set('x-api-key', keys.user)
    const inputs = [{ name: 'text', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from('x')] } }]
    grpc.ModelInfer({ model_name: 'tiny', inputs }, metadata, (error: ServiceError | null) =>
      resolve({
        code: error?.code ?? status.OK,
        told: decodeURIComponent(error?.details ?? ''),
        retry: String(error?.metadata.get('retry-after')[0] ?? ''),
      }),
    )
  })
const used = async () => {
  await app.house.access.ledger.save()
  const rows = await app.house.access.usage.list({ tenant: 'acme' })
  return rows.reduce((sum, { requests }) => sum + requests, 0)
}

test('every way to ask a model counts, and is refused within the same request once the budget is spent', async () => {
  const before = await used()
  for (const [path, body] of ways) {
    const { status, text } = await post(path, body)
    assert.equal(status, 200, `${path}: ${text}`)
  }
  assert.equal((await infer()).code, status.OK)
  assert.match((await post('/mcp', tool)).text, /"isError":false/)
  assert.equal(await used(), before + ways.length + 2)

  // one more, through any door, and nothing after it
  await operator.tenants.set('acme', { budget: 1, period: 'day' })
  assert.equal((await post(...(ways[0].slice(0, 2) as [string, object]))).status, 200)
  for (const [path, body, refusal] of ways) {
    const { status, text, headers } = await post(path, body)
    assert.equal(status, 429, `${path}: ${text}`)
    assert.match(text, refusal, path)
    const seconds = Number(headers.get('retry-after'))
    assert.ok(seconds > 0 && seconds <= 86_400, path)
    assert.match(text, /It starts anew at \d{4}-/, path)
  }
  const refused = await infer()
  assert.equal(refused.code, status.RESOURCE_EXHAUSTED)
  assert.match(refused.told, /the budget of the tenant "acme".*It starts anew/)
  assert.ok(Number(refused.retry) > 0)
  assert.match((await post('/mcp', tool)).text, /the budget of the tenant.*"isError":true/)
  assert.equal(await used(), before + ways.length + 3)
  const { budgets } = await new Athanor({ url: app.url, key: keys.user }).whoami()
  assert.deepEqual(
    budgets.map(({ budget, spent, remaining }) => ({ budget, spent, remaining })),
    [{ budget: 1, spent: 1, remaining: 0 }],
  )
  await operator.tenants.set('acme', {})
  assert.equal((await post('/api/models/tiny/predict', { inputs: 'x' })).status, 200)
})

test('hundreds of requests at once through several doors never overspend', async () => {
  await operator.tenants.set('acme', { budget: 40, period: 'total' })
  const doors = [ways[0], ways[3], ways[6], ways[12], ways[13], ways[15], ways[16]]
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, i) => post(...(doors[i % doors.length].slice(0, 2) as [string, object]))),
  )
  const count = (status: number) => answers.filter((one) => one.status === status).length
  assert.equal(count(200), 40)
  assert.equal(count(429), 360)
  await operator.tenants.set('acme', {})
})

test('tokens that are read and written are charged, also where the reader goes away', async () => {
  await operator.prices.set('acme', 'writer', { request: 0, input: 1, output: 10 })
  await operator.tenants.set('acme', { budget: 1000, period: 'month' })
  const cost = async () => {
    await app.house.access.ledger.save()
    const rows = await app.house.access.usage.list({ tenant: 'acme' })
    return rows.filter(({ model }) => model === 'writer').reduce((sum, row) => sum + row.cost, 0)
  }
  const first = await cost()
  const user = new Athanor({ url: app.url, key: keys.user })
  const { usage } = await user.generate('writer', 'hello', { maxTokens: 20, temperature: 0 })
  const second = await cost()
  assert.equal((second - first).toFixed(6), ((usage.promptTokens + 10 * usage.completionTokens) / 1000).toFixed(6))
  let read = 0
  for await (const event of user.stream('writer', 'hello', { maxTokens: 4000, temperature: 0 }))
    if (event.type === 'token' && ++read === 5) break
  // the engine is told, and says what it wrote until then
  let third = await cost()
  while (third === second) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    third = await cost()
  }
  assert.ok(third - second >= 0.05 && third - second < 40, String(third - second))
  await operator.tenants.set('acme', {})
})

test('headers tell what is left, and stock clients wait for it', async () => {
  const { headers } = await post('/classify', { model: 'tiny', input: 'x' }, keys.bounded)
  assert.equal(headers.get('x-ratelimit-limit-requests'), '3')
  assert.equal(headers.get('x-ratelimit-remaining-requests'), '2')
  assert.match(headers.get('x-ratelimit-reset-requests')!, /^\d+s$/)
  const streamed = await post('/api/models/writer/generate', { prompt: 'x', stream: true }, keys.bounded)
  assert.equal(streamed.headers.get('x-ratelimit-limit-requests'), '3')
  await post('/classify', { model: 'tiny', input: 'x' }, keys.bounded)
  const openai = new OpenAI({ baseURL: `${app.url}/v1`, apiKey: keys.bounded, maxRetries: 0 })
  await assert.rejects(openai.completions.create({ model: 'writer', prompt: 'x' }), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError)
    assert.equal(error.code, 'rate_limit_exceeded')
    assert.ok(Number(error.headers.get('retry-after')) >= 1)
    assert.equal(error.headers.get('x-ratelimit-remaining-requests'), '0')
    return true
  })
})

test('usage as CSV, prices, users, the audit log', async () => {
  await post('/api/models/tiny/predict', { inputs: 'x' })
  const csv = await operator.usage.csv({ all: true })
  const [head, ...rows] = csv.trimEnd().split('\r\n')
  assert.equal(head, 'tenant,day,model,key,requests,refused,inputTokens,outputTokens,cost')
  assert.ok(rows.some((row) => row.startsWith('acme,') && row.includes(',tiny,')))
  assert.ok((await operator.usage.list()).every(({ tenant }) => tenant === 'default'))
  const acme = new Athanor({ url: app.url, key: keys.operator, tenant: 'acme' })
  await operator.prices.set('acme', 'vectors', { input: 3 })
  assert.ok((await acme.prices.list()).some(({ model, input }) => model === 'vectors' && input === 3))
  await acme.users.set('li', { role: 'developer' })
  const { key, about } = await acme.keys.create({ name: 'ci', user: 'li', role: 'developer', doors: ['native'] })
  const ci = new Athanor({ url: app.url, key })
  await ci.models.setAlias('tiny', 'champion', 1)
  await acme.keys.revoke(about.id)
  await assert.rejects(ci.models.list(), { code: 'UNAUTHORIZED' })
  const entries = await acme.audit()
  const told = entries.map(({ actor, action, target }) => `${actor}: ${action} ${target}`)
  assert.ok(told.includes('li: PUT /api/models/:name/aliases/:alias tiny champion'), told.join('\n'))
  assert.ok(told.some((line) => /^operator \(\w+\): POST \/api\/keys $/.test(line)))
  assert.ok(told.some((line) => line.startsWith('operator') && line.includes('DELETE /api/keys/:id')))
  assert.ok(
    (await operator.audit({ all: true })).some(
      ({ action, detail }) => action === 'PUT /api/tenants/:tenant' && detail.limits,
    ),
  )
  assert.ok(!JSON.stringify(entries).includes(key.slice(17)))
})
