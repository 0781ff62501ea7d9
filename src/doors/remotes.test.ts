import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import OpenAI from 'openai'
import { Athanor, AthanorError } from '../../client/src/index.ts'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier } from '../testing/tiny.ts'
import { chunk, startUpstream, type Upstream, usage } from '../testing/upstream.ts'

const KEY = 'sk-a-secret-that-must-not-be-seen'
let server: TestServer
let upstream: Upstream
let athanor: Athanor
let openai: OpenAI
const hello = [{ role: 'user' as const, content: 'Hi' }]

before(async () => {
  ;[server, upstream] = await Promise.all([startTestServer(), startUpstream()])
  athanor = new Athanor({ url: server.url, retries: 0 })
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const remote = { url: `${upstream.url}/v1`, protocol: 'openai' as const, model: 'big' }
  await athanor.models.addRemote('far', { ...remote, key: KEY, retries: 1 })
  await athanor.models.addRemote('near', { ...remote, fallback: 'far', retries: 0 })
  await athanor.models.addRemote('vectors', { ...remote, task: 'feature-extraction' })
})
after(async () => {
  await server.close()
  await upstream.close()
})

const refused = (call: Promise<unknown>): Promise<AthanorError> =>
  call.then(
    () => assert.fail('expected an error'),
    (error: unknown) => {
      assert.ok(error instanceof AthanorError, String(error))
      return error
    },
  )
const status =
  (code: number, headers: Record<string, string> = {}, body = '') =>
  (_: unknown, response: never) =>
    (response as import('node:http').ServerResponse).writeHead(code, headers).end(body)

test('chat passes through, at once and as a stream, with usage and the sealed key', async () => {
  const whole = await openai.chat.completions.create({ model: 'far', messages: hello, temperature: 0.5, max_tokens: 9 })
  assert.equal(whole.choices[0].message.content, 'Hello there!')
  assert.deepEqual(whole.usage, usage)
  const { headers, body } = upstream.asked.at(-1)!
  assert.equal(headers.authorization, `Bearer ${KEY}`)
  assert.deepEqual(body, { model: 'big', messages: hello, max_tokens: 9, temperature: 0.5, stream: false })

  const stream = await openai.chat.completions.create({
    model: 'far',
    messages: hello,
    stream: true,
    stream_options: { include_usage: true },
  })
  const parts: string[] = []
  let told: unknown
  for await (const { choices, usage: sum } of stream) {
    const content = choices[0]?.delta.content
    if (content) parts.push(content)
    if (sum) told = sum
  }
  assert.deepEqual(parts, ['Hello', ' there', '!'])
  assert.deepEqual(told, usage)
  assert.equal(upstream.asked.at(-1)!.body.stream, true)
})

test('plain completions, the native door and vectors', async () => {
  const { choices } = await openai.completions.create({ model: 'far', prompt: 'Hi' })
  assert.equal(choices[0].text, 'Hello there!')
  const generation = await athanor.generate('far', 'Hi')
  assert.deepEqual([generation.text, generation.usage.completionTokens], ['Hello there!', 3])
  const embedded = await openai.embeddings.create({ model: 'vectors', input: ['a', 'four'] })
  assert.deepEqual(
    embedded.data.map(({ embedding }) => [...embedding]),
    [
      [1, 1, 0],
      [4, 1, 0],
    ],
  )
  assert.equal(embedded.usage.prompt_tokens, 4)
})

test('tools and JSON schemas go out as they came, and calls come back', async () => {
  const tools = [
    { type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
  ]
  upstream.next((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const call = (rest: object) => ({ tool_calls: [{ index: 0, ...rest }] })
    response.write(chunk(call({ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } })))
    response.write(chunk(call({ function: { arguments: '{"city":' } })))
    response.write(chunk(call({ function: { arguments: '"Bern"}' } })))
    response.end(`${chunk({}, 'tool_calls')}data: [DONE]\n\n`)
  })
  const runner = openai.chat.completions.stream({ model: 'far', messages: hello, tools, tool_choice: 'required' })
  const [choice] = (await runner.finalChatCompletion()).choices
  assert.equal(choice.finish_reason, 'tool_calls')
  const [call] = choice.message.tool_calls!
  assert.ok(call.type === 'function')
  assert.deepEqual([call.id, call.function.name, call.function.arguments], ['call_1', 'weather', '{"city":"Bern"}'])
  assert.deepEqual(upstream.asked.at(-1)!.body.tools, tools)
  assert.equal(upstream.asked.at(-1)!.body.tool_choice, 'required')

  const schema = { type: 'object', properties: { a: { type: 'integer' } } }
  await openai.chat.completions.create({
    model: 'far',
    messages: [
      ...hello,
      {
        role: 'assistant',
        tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    ],
    response_format: { type: 'json_schema', json_schema: { name: 'x', schema } },
  })
  const { body } = upstream.asked.at(-1)!
  const sent = body.messages as Record<string, unknown>[]
  assert.deepEqual(
    [sent[1].content, (sent[1].tool_calls as unknown[]).length, sent[2].tool_call_id],
    [null, 1, 'call_1'],
  )
  assert.deepEqual((body.response_format as { json_schema: { schema: unknown } }).json_schema.schema, schema)
})

test('what fails before the first byte is asked again; what refuses is not', async () => {
  const before = upstream.asked.length
  upstream.next(status(503) as never)
  assert.equal((await athanor.generate('far', 'Hi')).text, 'Hello there!')
  upstream.next((_, response) => void response.destroy())
  assert.equal((await athanor.generate('far', 'Hi')).text, 'Hello there!')
  upstream.next(status(429, { 'retry-after': '0.05' }) as never)
  assert.equal((await athanor.generate('far', 'Hi')).text, 'Hello there!')
  assert.equal(upstream.asked.length - before, 6)
  upstream.next(status(429) as never, status(429) as never)
  assert.deepEqual((await refused(athanor.generate('far', 'Hi'))).code, 'UPSTREAM_BUSY')
  const body = JSON.stringify({ error: { message: 'max_tokens: too many, see /srv/model/config.json' } })
  upstream.next(status(400, {}, body) as never)
  const error = await refused(athanor.generate('far', 'Hi'))
  assert.equal(error.code, 'UPSTREAM_REFUSED')
  assert.match(error.message, /max_tokens: too many, see …/)
  upstream.next(status(401, {}, `{"error":{"message":"bad key ${KEY}"}}`) as never)
  const unauthorized = await refused(athanor.generate('far', 'Hi'))
  assert.deepEqual([unauthorized.code, unauthorized.status], ['UPSTREAM_FAILED', 502])
  assert.doesNotMatch(unauthorized.message, /secret/)
  assert.equal(upstream.asked.length - before, 10)
})

test('broken, garbled and unfinished streams end with an error, and never as if complete', async () => {
  const events = { 'content-type': 'text/event-stream' }
  const scripts: ((response: import('node:http').ServerResponse) => void)[] = [
    (response) => {
      response.write(chunk({ content: 'half' }), () => response.destroy())
    },
    (response) => void response.end(chunk({ content: 'half' })),
    (response) => void response.end(`${chunk({ content: 'half' })}data: {"choices": [\n\n`),
    (response) => void response.end(`${chunk({ content: 'half' })}data: {"error":{"message":"out of memory"}}\n\n`),
    (response) => void response.end(`data: ${'x'.repeat(2 << 20)}`),
  ]
  for (const script of scripts) {
    upstream.next((_, response) => script(response.writeHead(200, events)))
    const stream = await openai.chat.completions
      .create({ model: 'far', messages: hello, stream: true })
      .catch((error: unknown) => error as Error)
    if (stream instanceof Error) {
      assert.match(stream.message, /failed/)
      continue
    }
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, /failed/)
  }
  for (const text of ['<html>', '{}', '{"choices":[]}', 'null']) {
    upstream.next((_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(text))
    const error = await openai.chat.completions.create({ model: 'far', messages: hello }).catch((e: unknown) => e)
    assert.equal((error as { status: number }).status, 502, text)
  }
})

test('when the caller leaves, the other server is told by the end of its connection', async () => {
  const left = upstream.left
  const arrived = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  upstream.next((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(chunk({ content: 'a' }))
    response.once('close', () => gone.resolve())
    arrived.resolve()
  })
  const stop = new AbortController()
  const stream = await openai.chat.completions.create(
    { model: 'far', messages: hello, stream: true },
    { signal: stop.signal },
  )
  await arrived.promise
  setTimeout(() => stop.abort(), 20)
  for await (const _ of stream);
  await gone.promise
  assert.equal(upstream.left, left + 1)
})

test('a model stands in for one whose server fails, and is not asked for mistakes of the caller', async () => {
  upstream.next(status(500) as never)
  assert.equal((await athanor.generate('near', 'Hi')).text, 'Hello there!')
  assert.equal(upstream.asked.at(-1)!.headers.authorization, `Bearer ${KEY}`, 'the fallback has the key')
  upstream.next(status(400) as never)
  assert.equal((await refused(athanor.generate('near', 'Hi'))).code, 'UPSTREAM_REFUSED')
})

test('a server that fails again and again is left alone', async () => {
  await athanor.models.addRemote('lone', { url: `${upstream.url}/v1`, protocol: 'openai', model: 'big', retries: 0 })
  for (let i = 0; i < 5; i++) {
    upstream.next(status(500) as never)
    assert.equal((await refused(athanor.generate('lone', 'Hi'))).code, 'UPSTREAM_FAILED')
  }
  const asked = upstream.asked.length
  const error = await refused(athanor.generate('lone', 'Hi'))
  assert.equal(error.code, 'UPSTREAM_UNREACHABLE')
  assert.equal(upstream.asked.length, asked)
  assert.equal((await athanor.engines()).find(({ model }) => model === 'lone')?.state, 'failing')
})

test('the key is nowhere to be read', async () => {
  const shown = await athanor.models.show('far')
  assert.doesNotMatch(
    JSON.stringify([shown, await athanor.logs({ limit: 1000 }), await athanor.engines()]),
    /sk-a-secret/,
  )
  assert.equal((await refused(athanor.models.file('far', 'key.sealed'))).code, 'BAD_REQUEST')
  const { home } = server.app.config
  assert.equal(statSync(join(home, 'secret.key')).mode & 0o777, 0o600)
  for (const path of readdirSync(home, { recursive: true, encoding: 'utf8' })) {
    const file = join(home, path)
    if (statSync(file).isFile()) assert.ok(!readFileSync(file).includes(KEY), path)
  }
})

test('a model of tensors on another server of the Open Inference Protocol: signature, bytes, refusals', async () => {
  const other = await startTestServer()
  try {
    const { manifest, files } = await tinyClassifier()
    await other.app.house.registry.register('tiny', manifest, files)
    const { manifest: told } = await athanor.models.addRemote('tensors', {
      url: other.url,
      protocol: 'oip',
      model: 'tiny',
    })
    assert.deepEqual(told.signature.inputs, [{ name: 'text', dtype: 'string', shape: ['text_0'] }])
    assert.equal(told.remote?.binary, true)
    const texts = ['what a film', 'no']
    const { outputs } = await athanor.infer('tensors', { text: { shape: [2], data: texts } })
    const direct = await athanor.predictAll.call(new Athanor({ url: other.url }), 'tiny', texts)
    assert.deepEqual(
      outputs.label.data,
      direct.map(([best]) => best.label),
    )
    const wrong = await refused(athanor.infer('tensors', { text: { shape: [2, 2], data: ['a', 'b', 'c', 'd'] } }))
    assert.equal(wrong.code, 'TENSOR_INVALID')
  } finally {
    await other.close()
  }
})

test('what may not be called, or is not there, is refused when it is added', async () => {
  const add = (more: object) =>
    refused(
      athanor.models.addRemote('no', { url: `${upstream.url}/v1`, protocol: 'openai', model: 'big', ...more } as never),
    )
  const cases: [object, string][] = [
    [{ url: 'http://10.0.0.1/v1' }, 'HOST_FORBIDDEN'],
    [{ url: 'https://example.com/v1' }, 'HOST_FORBIDDEN'],
    [{ url: 'file:///etc/passwd' }, 'BAD_REQUEST'],
    [{ url: 'http://user:secret@127.0.0.1/v1' }, 'BAD_REQUEST'],
    [{ url: 'http://127.0.0.1:1/v1' }, 'UPSTREAM_UNREACHABLE'],
    [{ model: 'bigg' }, 'BAD_REQUEST'],
    [{ fallback: 'nothing-here' }, 'MODEL_NOT_FOUND'],
    [{ fallback: 'no' }, 'BAD_REQUEST'],
    [{ key: 'two\nlines' }, 'BAD_REQUEST'],
    [{ protocol: 'oip' }, 'UPSTREAM_FAILED'],
  ]
  for (const [more, code] of cases) assert.equal((await add(more)).code, code, JSON.stringify(more))
  assert.match((await add({ model: 'bigg' })).hint, /Did you mean "big"/)
})
