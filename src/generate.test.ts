import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor, AthanorError, type GenerationEvent } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { readReference } from './drift/reference.ts'
import { WINDOW } from './drift/sketch.ts'
import { placesAt } from './testing/backends.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from './testing/tiny-decoder.ts'

const template =
  "{% for m in messages %}{{ m.role[0] + ':' + m.content + ' ' }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
const home = mkdtempSync(join(tmpdir(), 'athanor-generate-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  for (const [name, options] of [
    ['tiny', {}],
    ['slow', { slow: 600 }],
    ['short', { context: 12 }],
    ['chat', { chatTemplate: template }],
  ] as const) {
    const { manifest, files } = tinyDecoder(options)
    await app.house.registry.register(name, manifest, files)
  }
  const { manifest, files } = await tinyClassifier()
  await app.house.registry.register('classifier', manifest, files)
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
const collect = async (events: AsyncIterable<GenerationEvent>) => {
  const all: GenerationEvent[] = []
  for await (const event of events) all.push(event)
  return all
}
const until = async (holds: () => Promise<boolean>) => {
  for (let i = 0; i < 400 && !(await holds()); i++) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.ok(await holds())
}
const waiting = async (model: string) =>
  (await app.house.deployments.list()).find((engine) => engine.model === model)?.stats?.waiting

test('a text is the same as one answer and as a stream, alone and among others that come and go', async () => {
  const prompts = ['a', 'hello there', '今天', 'x'.repeat(600), '', 'the quick brown fox jumps']
  const expected = (prompt: string, count: number) => tinyContinuation(prompt === '' ? ' ' : prompt, count)
  for (const prompt of prompts) {
    const { text, finish, usage } = await client.generate('tiny', prompt, { temperature: 0, maxTokens: 20 })
    assert.equal(text, expected(prompt, 20))
    assert.deepEqual([finish, usage.completionTokens], ['length', 20])
    assert.equal(usage.promptTokens, Math.max(1, Buffer.byteLength(prompt)))
  }
  const crowd = await Promise.all(
    Array.from({ length: 90 }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, (i * 7) % 60))
      const prompt = prompts[i % prompts.length]
      const count = 1 + ((i * 13) % 40)
      return {
        prompt,
        count,
        events: await collect(client.stream('tiny', prompt, { temperature: 0, maxTokens: count })),
      }
    }),
  )
  for (const { prompt, count, events } of crowd) {
    assert.equal(events.map(({ text }) => text).join(''), expected(prompt, count))
    assert.equal(events.filter(({ type }) => type === 'token').length, count)
    assert.equal(events.at(-1)?.type, 'end')
  }
  const scrape = await client.metrics()
  assert.match(scrape, /athanor_tokens_total\{model="tiny",version="1",kind="completion"\} \d{3}/)
})

test('stop strings end a text wherever tokens border, and nothing of them is shown', async () => {
  const whole = tinyContinuation('go', 60)
  for (const stop of [whole.slice(10, 14), whole.slice(21, 22), '好', 'never there']) {
    const at = whole.indexOf(stop)
    const { text, finish } = await client.generate('tiny', 'go', { temperature: 0, maxTokens: 60, stop: [stop] })
    assert.equal(text, at < 0 ? whole : whole.slice(0, at))
    assert.equal(finish, at < 0 ? 'length' : 'stop')
  }
})

test('a context that is full ends the text; a prompt that fills it is refused', async () => {
  const { usage, finish } = await client.generate('short', '12345678', { temperature: 0 })
  assert.deepEqual([usage.completionTokens, finish], [4, 'length'])
  await assert.rejects(client.generate('short', 'x'.repeat(12)), code('PROMPT_TOO_LONG', '12 tokens'))
})

test('messages become a prompt by the model’s own template', async () => {
  const messages = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'yes' },
    { role: 'user', content: '再说' },
  ]
  const { text } = await client.generate('chat', messages, { temperature: 0, maxTokens: 9 })
  assert.equal(text, tinyContinuation('u:hi a:yes u:再说 a:', 9))
})

test('the engine stops when the reader goes away, and when it is told to', async () => {
  let seen = 0
  for await (const event of client.stream('slow', 'abc', { maxTokens: 4000 }))
    if (event.type === 'token' && ++seen === 3) break
  await until(async () => (await waiting('slow')) === 0)

  const stop = new AbortController()
  const events: string[] = []
  for await (const event of app.house.deployments.generate(
    'slow',
    { prompt: 'abc', maxTokens: 4000 },
    { signal: stop.signal },
  )) {
    events.push(event.type)
    if (events.length === 2) stop.abort()
    if (event.type === 'end') assert.equal(event.finish, 'cancelled')
  }
  assert.equal(events.at(-1), 'end')
  await until(async () => (await waiting('slow')) === 0)
})

test('a deadline ends a text with a typed error', async () => {
  const events = app.house.deployments.generate('slow', { prompt: 'abc', maxTokens: 4000 }, { deadline: 300 })
  await assert.rejects(collect(events as AsyncIterable<GenerationEvent>), { code: 'DEADLINE_EXCEEDED' })
  await until(async () => (await waiting('slow')) === 0)
})

test('an engine that dies in the middle of a text ends it with one error event; the next one is answered', async () => {
  let failure: unknown
  let seen = 0
  try {
    for await (const event of client.stream('slow', 'abc', { maxTokens: 4000 })) {
      if (event.type !== 'token' || ++seen !== 3) continue
      const { pid } = (await client.engines()).find(({ model }) => model === 'slow')!
      process.kill(pid!, 'SIGKILL')
    }
  } catch (error) {
    failure = error
  }
  assert.ok(seen >= 3 && code('ENGINE_CRASHED')(failure), String(failure))
  const { text } = await client.generate('slow', 'abc', { temperature: 0, maxTokens: 3 })
  assert.equal(text, tinyContinuation('abc', 3))
})

test('what is out of range is refused before anything runs', async () => {
  const refusals: [Parameters<Athanor['generate']>[2], string][] = [
    [{ maxTokens: 0 }, 'maxTokens'],
    [{ maxTokens: 1.5 }, 'whole'],
    [{ temperature: -1 }, 'temperature'],
    [{ topP: 2 }, 'topP'],
    [{ seed: -1 }, 'seed'],
    [{ logprobs: 21 }, 'logprobs'],
    [{ stop: [''] }, 'stop'],
    [{ presencePenalty: 3 }, 'presencePenalty'],
  ]
  for (const [options, part] of refusals)
    await assert.rejects(client.generate('tiny', 'x', options), code('BAD_REQUEST', part))
  await assert.rejects(client.generate('tiny', []), code('BAD_REQUEST', 'messages'))
  await assert.rejects(client.generate('tiny', [{ role: 'user', content: 'x' }]), code('BAD_REQUEST', 'conversations'))
  await assert.rejects(client.generate('classifier', 'x'), code('BAD_REQUEST', 'texts to classify'))
  await assert.rejects(client.predict('tiny', 'x'), code('BAD_REQUEST', 'generate route'))
  await assert.rejects(collect(client.stream('none', 'x')), code('MODEL_NOT_FOUND'))
})

test('log-probabilities are those of the model; a seed repeats a text', async () => {
  const { tokens } = await client.generate('tiny', 'x', { temperature: 0, maxTokens: 5, logprobs: 2 })
  assert.equal(tokens?.length, 5)
  const best = 20 - Math.log(Math.exp(20) + 256)
  for (const { logprob, top, token } of tokens!) {
    assert.ok(Math.abs(logprob! - best) < 1e-5)
    assert.equal(top![0].token, token)
    assert.ok(Math.abs(top![1].logprob - (best - 20)) < 1e-5)
  }
  const options = { temperature: 8, maxTokens: 30, seed: 7 }
  const [a, b, c] = await Promise.all([7, 7, 8].map((seed) => client.generate('tiny', 'x', { ...options, seed })))
  assert.equal(a.text, b.text)
  assert.notEqual(a.text, c.text)
})

test('what is asked of a model that writes is compared with what it was made for', async () => {
  const bytes = (text: string) => ({ ids: [...Buffer.from(text)] })
  const usual = (i: number) => `tell of ${'abcdefgh'[i % 8]}`
  const { manifest, files } = tinyDecoder()
  const reference = readReference(Array.from({ length: 400 }, (_, i) => bytes(usual(i))))
  await app.house.registry.register('compared', { ...manifest, reference: reference! }, files)
  const ask = (text: (i: number) => string) =>
    Promise.all(Array.from({ length: WINDOW }, (_, i) => client.generate('compared', text(i), { maxTokens: 1 })))
  const windows = async () => (await client.drift('compared')).windows.length
  await ask(usual)
  await until(async () => (await windows()) === 1)
  assert.deepEqual((await client.drift('compared')).drifted, [])
  await ask((i) => `今天天气很好，我们去公园散步${i}`)
  await until(async () => (await windows()) === 2)
  const { drifted } = await client.drift('compared')
  assert.deepEqual(drifted.map(({ feature }) => feature).sort(), ['length', 'tokens'])
})
