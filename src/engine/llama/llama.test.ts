import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import OpenAI from 'openai'
import { Athanor } from '../../../client/src/index.ts'
import { llamaBundle } from '../../formats/gguf/foreign.ts'
import { writeLlamaGguf } from '../../formats/gguf/llama.ts'
import { smallDecoder } from '../../testing/decoders.ts'
import { wholeManifest } from '../../testing/refining.ts'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { Engine } from '../engine.ts'
import type { GenerationEvent, GenerationRequest } from '../messages.ts'
import { Spare } from '../processes.ts'
import { llamaRunner } from './runner.ts'

const installed = process.env.ATHANOR_ENGINES ?? ''
const libraryFolder = join(installed, 'llama/node_modules/node-llama-cpp')
const skip = existsSync(libraryFolder)
  ? false
  : 'node-llama-cpp is not installed: athanor engines install llama, and set ATHANOR_ENGINES to its folder'

let server: TestServer
let athanor: Athanor
let openai: OpenAI
before(async () => {
  server = await startTestServer()
  athanor = new Athanor({ url: server.url, retries: 0 })
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const decoder = await smallDecoder('llama')
  const template = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]'
  const file = writeLlamaGguf(
    { ...decoder, generation: { ...decoder.generation, chatTemplate: template } },
    'tiny',
    'f32',
  )
  const files = { 'tiny.gguf': new Uint8Array(file) }
  await athanor.models.importFiles('graph', files)
  await athanor.models.importFiles('llama', files, { format: 'gguf-llama' })
  const given = async (name: string, context: number, embeds = false) => {
    const { generation, ...other } = await smallDecoder('llama', { sizes: { context } })
    const whole = { ...other, generation: { ...generation, context, chatTemplate: template } }
    const written = Buffer.from(writeLlamaGguf(whole, name, 'f32'))
    const bytes = new Uint8Array(embeds ? pooled(written) : written)
    await athanor.models.importFiles(name, { 'a.gguf': bytes }, { format: 'gguf-llama' })
  }
  await given('long', 1024)
  await given('vectors', 64, true)
})
after(() => server.close())

/** The file saying that a text's vector is the mean of its tokens': two entries more, of 64 bytes, so that tensors stay aligned. */
function pooled(file: Buffer): Buffer {
  const entry = (key: string, value: number) => {
    const bytes = Buffer.alloc(16 + key.length)
    bytes.writeBigUInt64LE(BigInt(key.length))
    bytes.write(key, 8)
    bytes.writeUInt32LE(4, 8 + key.length) // uint32
    bytes.writeUInt32LE(value, 12 + key.length)
    return bytes
  }
  const head = Buffer.from(file.subarray(0, 24))
  head.writeBigUInt64LE(head.readBigUInt64LE(16) + 2n, 16)
  return Buffer.concat([head, entry('llama.pooling_type', 1), entry('athanor.filler', 0), file.subarray(24)])
}

const prompts = ['the quick', 'brown fox jumps', '今天天气', 'the lazy dog. ', 'x', 'over the', 'fox', '公园散步']
const greedy = { temperature: 0, maxTokens: 20 }

test('without the library a GGUF file is registered, and asking it says what to install', async () => {
  const bare = await startTestServer({ engines: join(server.app.config.home, 'nothing') })
  try {
    const other = new Athanor({ url: bare.url, retries: 0 })
    const decoder = await smallDecoder('llama')
    const file = new Uint8Array(writeLlamaGguf(decoder, 'tiny', 'f16'))
    const { manifest } = await other.models.importFiles('llama', { 'a.gguf': file }, { format: 'gguf-llama' })
    assert.deepEqual([manifest.engine, manifest.task, manifest.family], ['llama', 'text-generation', 'llama'])
    const { models } = (await (await fetch(`${bare.url}/ollama/api/tags`)).json()) as { models: { details: object }[] }
    assert.deepEqual(
      models.map(({ details }) => details),
      [
        {
          parent_model: '',
          format: 'gguf',
          family: 'llama',
          families: ['llama'],
          parameter_size: `${(manifest.parameters / 1e3).toFixed(1)}K`,
          quantization_level: 'F16',
        },
      ],
    )
    await assert.rejects(other.generate('llama', 'x'), { code: 'ENGINE_MISSING', hint: /engines install llama/ })
  } finally {
    await bare.close()
  }
})

test('greedy texts are those of the same file run as a graph, one by one and all at once', { skip }, async () => {
  const expected = []
  for (const prompt of prompts) expected.push((await athanor.generate('graph', prompt, greedy)).text)
  for (const [i, prompt] of prompts.entries())
    assert.equal((await athanor.generate('llama', prompt, greedy)).text, expected[i], prompt)
  const twice = [...prompts, ...prompts]
  const together = await Promise.all(twice.map((prompt) => athanor.generate('llama', prompt, greedy)))
  assert.deepEqual(
    together.map(({ text }) => text),
    [...expected, ...expected],
  )
})

test('log-probabilities are those of the graph', { skip }, async () => {
  const of = async (model: string) => (await athanor.generate(model, 'the quick', { ...greedy, logprobs: 3 })).tokens!
  const [graph, llama] = [await of('graph'), await of('llama')]
  assert.deepEqual(
    llama.map(({ token }) => token),
    graph.map(({ token }) => token),
  )
  for (const [i, { logprob, top }] of llama.entries()) {
    assert.ok(Math.abs(logprob! - graph[i].logprob!) < 2e-3, `${i}: ${logprob} and ${graph[i].logprob}`)
    assert.deepEqual(
      top!.map(({ token }) => token),
      graph[i].top!.map(({ token }) => token),
    )
  }
})

test('seeds, stop strings, lengths, usage', { skip }, async () => {
  const drawn = { temperature: 1.5, maxTokens: 16, seed: 7 }
  const [one, two, three] = [
    await athanor.generate('llama', 'the', drawn),
    await athanor.generate('llama', 'the', drawn),
    await athanor.generate('llama', 'the', { ...drawn, seed: 8 }),
  ]
  assert.equal(one.text, two.text)
  assert.notEqual(one.text, three.text)
  const whole = (await athanor.generate('llama', 'the quick', greedy)).text
  const stop = whole.slice(5, 8)
  const stopped = await athanor.generate('llama', 'the quick', { ...greedy, stop: [stop] })
  assert.deepEqual([stopped.text, stopped.finish], [whole.slice(0, whole.indexOf(stop)), 'stop'])
  const long = await athanor.generate('llama', 'the quick', { temperature: 0, maxTokens: 1000 })
  assert.equal(long.usage.promptTokens + long.usage.completionTokens, 64, 'up to what the model can read')
  assert.equal(long.finish, 'length')
  await assert.rejects(athanor.generate('llama', 'quick '.repeat(100)), { code: 'PROMPT_TOO_LONG' })
})

test('JSON by a schema, and calls', { skip }, async () => {
  const schema = {
    type: 'object',
    properties: { a: { enum: ['x', 'y'] }, b: { type: 'string', maxLength: 2 }, c: { type: 'boolean' } },
    required: ['a', 'c'],
  }
  const messages = [{ role: 'user' as const, content: 'a' }]
  for (let seed = 0; seed < 4; seed++) {
    const { choices } = await openai.chat.completions.create({
      model: 'llama',
      messages,
      seed,
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema } },
    })
    const value = JSON.parse(choices[0].message.content!) as { a: string; b?: string; c: boolean }
    assert.ok(['x', 'y'].includes(value.a) && typeof value.c === 'boolean' && [...(value.b ?? '')].length <= 2)
  }
  const model = 'llama'
  const tools = [{ type: 'function' as const, function: { name: 'f' } }]
  await assert.rejects(openai.chat.completions.create({ model, messages, tools }), { code: 'context_length_exceeded' })
})

test('log-probabilities of JSON are those of the graph, before the form is applied', { skip }, async () => {
  const schema = {
    type: 'object',
    properties: { a: { enum: ['x', 'y'] }, b: { type: 'boolean' } },
    required: ['a', 'b'],
  }
  const of = async (model: string) => {
    const { choices } = await openai.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'a' }],
      temperature: 0,
      logprobs: true,
      top_logprobs: 2,
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema } },
    })
    const [{ message, logprobs }] = choices
    return { text: message.content!, told: logprobs!.content! }
  }
  const [graph, llama] = [await of('graph'), await of('llama')]
  assert.ok(['x', 'y'].includes((JSON.parse(llama.text) as { a: string }).a))
  assert.equal(llama.told.map(({ token }) => token).join(''), llama.text)
  assert.deepEqual(
    llama.told.map(({ token }) => token),
    graph.told.map(({ token }) => token),
  )
  for (const [i, { logprob, top_logprobs: top }] of llama.told.entries()) {
    assert.ok(Math.abs(logprob - graph.told[i].logprob) < 2e-3)
    for (const [k, one] of top.entries())
      assert.ok(Math.abs(one.logprob - graph.told[i].top_logprobs[k].logprob) < 2e-3)
  }
  assert.ok(llama.told[0].logprob < llama.told[0].top_logprobs[0].logprob, 'the model alone would write something else')
})

test('a call that must be made is one of its schema, whole and streamed', { skip }, async () => {
  const parameters = {
    type: 'object',
    properties: { city: { enum: ['Bern', '北京'] }, days: { type: 'array', items: { type: 'boolean' }, maxItems: 2 } },
    required: ['city', 'days'],
  }
  const tools = ['weather', 'other'].map((name) => ({ type: 'function' as const, function: { name, parameters } }))
  const asked = {
    model: 'long',
    messages: [{ role: 'user' as const, content: 'the weather?' }],
    tools,
    tool_choice: { type: 'function' as const, function: { name: 'weather' } },
  }
  const right = (text: string) => {
    const { city, days } = JSON.parse(text) as { city: string; days: boolean[] }
    assert.ok(['Bern', '北京'].includes(city) && days.length <= 2 && days.every((day) => typeof day === 'boolean'))
  }
  for (let seed = 0; seed < 3; seed++) {
    const { choices } = await openai.chat.completions.create({ ...asked, seed })
    const [call] = choices[0].message.tool_calls!
    assert.ok(call.type === 'function' && call.function.name === 'weather')
    assert.equal(choices[0].finish_reason, 'tool_calls')
    right(call.function.arguments)
  }
  let streamed = ''
  for await (const { choices } of await openai.chat.completions.create({ ...asked, seed: 3, stream: true }))
    streamed += choices[0]?.delta.tool_calls?.[0].function?.arguments ?? ''
  right(streamed)
})

test('vectors: of length one, the same alone and among others', { skip }, async () => {
  const texts = [...prompts, ...prompts]
  const together = await athanor.embed('vectors', texts)
  for (const [i, text] of prompts.entries()) {
    const [alone] = await athanor.embed('vectors', [text])
    assert.equal(alone.length, 64)
    assert.ok(Math.abs(Math.hypot(...alone) - 1) < 1e-5)
    for (const other of [together[i], together[i + prompts.length]])
      assert.ok(Math.max(...alone.map((value, k) => Math.abs(value - other[k]))) < 1e-5)
  }
  const cosine = (a: number[], b: number[]) => a.reduce((sum, value, k) => sum + value * b[k], 0)
  assert.ok(cosine(together[0], together[1]) < 0.9999, 'other texts have other vectors')
  const { usage } = await openai.embeddings.create({ model: 'vectors', input: prompts })
  assert.ok(usage.prompt_tokens > prompts.length)
})

test('vectors by two threads beside each other are those by one; a text that is too long fails alone', {
  skip,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-llama-'))
  try {
    const file = pooled(Buffer.from(writeLlamaGguf(await smallDecoder('llama'), 'vectors', 'f32')))
    const path = join(folder, 'model.gguf')
    writeFileSync(path, file)
    const texts = [...prompts.map((prompt) => [prompt]), ['the '.repeat(200)], prompts]
    const answers = []
    for (const threads of [1, 2]) {
      const options = { threads, tokenBudget: 1, library: libraryFolder }
      const runner = await llamaRunner(wholeManifest(llamaBundle(new Uint8Array(file))), path, options)
      const said = new Map<number, unknown>()
      for await (const answer of runner.run(texts.map((some, id) => ({ id, at: 0, kind: 'texts', texts: some }))))
        said.set(answer.id, 'output' in answer ? answer.output : answer.error.code)
      assert.equal(said.get(prompts.length), 'PROMPT_TOO_LONG')
      answers.push(said)
    }
    assert.deepEqual(answers[1], answers[0])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('more texts than there are places: all are written; those whose callers left are not', { skip }, async () => {
  const some = await Promise.all(
    Array.from({ length: 48 }, async (_, i) => {
      if (i % 3 > 0) return (await athanor.generate('long', prompts[i % 8], { temperature: 0, maxTokens: 12 })).text
      const stop = new AbortController()
      setTimeout(() => stop.abort(), 5 * i)
      return athanor.generate('long', prompts[i % 8], { maxTokens: 900, signal: stop.signal }).then(
        () => 'whole',
        () => 'left',
      )
    }),
  )
  for (let i = 0; i < 48; i++) {
    if (i % 3 > 0)
      assert.equal(
        some[i],
        some.find((_, k) => k % 3 > 0 && k % 8 === i % 8),
      )
    else assert.ok(some[i] === 'left' || some[i] === 'whole')
  }
  const waiting = async () => (await athanor.engines()).find(({ model }) => model === 'long')!.waiting
  while ((await waiting()) > 0) await new Promise((resolve) => setTimeout(resolve, 20)) // the test's own limit ends it
})

test('a stream whose engine is killed ends with an error, and the next text is written by a new one', {
  skip,
}, async () => {
  const pid = async () => (await athanor.engines()).find(({ model }) => model === 'long')!.pid!
  const before = await pid()
  let seen = 0
  await assert.rejects(
    async () => {
      for await (const event of athanor.stream('long', 'the', { maxTokens: 900, temperature: 0 }))
        if (event.type === 'token' && ++seen === 3) process.kill(before, 'SIGKILL')
    },
    { code: 'ENGINE_CRASHED' },
  )
  assert.ok(seen >= 3)
  assert.equal((await athanor.generate('long', 'the', { temperature: 0, maxTokens: 4 })).usage.completionTokens, 4)
  assert.notEqual(await pid(), before)
})

test('cancelling ends within a token, and the place is free again', { skip }, async () => {
  for (let i = 0; i < 20; i++) {
    const stop = new AbortController()
    try {
      for await (const event of athanor.stream('llama', 'the', { signal: stop.signal, maxTokens: 60 })) {
        if (event.type === 'token') stop.abort()
      }
    } catch {
      // the client's own abort
    }
  }
  assert.equal((await athanor.generate('llama', 'the', greedy)).finish, 'length')
  const [engine] = (await athanor.engines()).filter(({ model }) => model === 'llama')
  assert.equal(engine.waiting, 0)
})

test('a caller who leaves while a prompt is read: no more of it is read, and what was read is not read again', {
  skip,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-llama-'))
  try {
    const { manifest, path } = await longFile(folder)
    const stop = new AbortController()
    let steps = 0
    const runner = await llamaRunner(manifest, path, {
      threads: 1,
      tokenBudget: 1,
      library: libraryFolder,
      onStep() {
        steps++
        stop.abort()
      },
    })
    const request: GenerationRequest = { ...plainRequest, prompt: '天'.repeat(600), maxTokens: 3 }
    const events = async (signal: AbortSignal) => {
      const all: GenerationEvent[] = []
      for await (const event of runner.generate!(request, signal)) all.push(event)
      return all
    }
    const [left] = await events(stop.signal)
    assert.ok(left.type === 'end' && left.finish === 'cancelled')
    assert.ok(left.usage.promptTokens > 512, 'more than a step')
    assert.equal(steps, 1)
    const whole = await events(new AbortController().signal)
    assert.equal(whole.length, 4)
    assert.equal(steps, 1 + 1 + 2, 'one for the rest of the prompt and its first token, two for the others')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('once one was taken for llama.cpp, the next spare process has read it before it is told what to run', {
  skip: skip || (process.platform === 'linux' ? false : 'what a process has read is looked up in /proc'),
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-llama-'))
  const spare = new Spare(1)
  const hasRead = (child: ChildProcess) => readFileSync(`/proc/${child.pid}/maps`, 'utf8').includes('llama-addon')
  try {
    const { manifest, path } = await longFile(folder)
    spare.takeForLlama(libraryFolder).kill('SIGKILL')
    await wait(20)
    const child = spare.takeForLlama(libraryFolder)
    while (!hasRead(child)) await wait(20) // the test's own limit ends it
    const spec = { name: 'long', version: 1, manifest, files: { 'model.gguf': path }, library: libraryFolder }
    const engine = new Engine(spec, {}, () => child)
    const events: GenerationEvent[] = []
    for await (const event of engine.generate({ ...plainRequest, prompt: 'the' }, { deadline: 30_000 }))
      events.push(event)
    assert.equal(events.length, 1 + plainRequest.maxTokens)
    await engine.stop()
  } finally {
    spare.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

const plainRequest = {
  maxTokens: 4,
  temperature: 0,
  topP: 1,
  topK: 0,
  stop: [],
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
} satisfies GenerationRequest

/** A file of a small model that reads up to 1,024 tokens. */
async function longFile(folder: string) {
  const { generation, ...other } = await smallDecoder('llama', { sizes: { context: 1024 } })
  const file = new Uint8Array(writeLlamaGguf({ ...other, generation: { ...generation, context: 1024 } }, 'long', 'f32'))
  const path = join(folder, 'model.gguf')
  writeFileSync(path, file)
  return { manifest: wholeManifest(llamaBundle(file)), path }
}
