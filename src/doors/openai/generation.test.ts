import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import OpenAI from 'openai'
import { Check } from 'typebox/value'
import { Type } from '../../base/schema.ts'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { tinyClassifier } from '../../testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../testing/tiny-decoder.ts'

/** Written as templates are: roles and contents in a row, and what an answer begins with. */
const template = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]'
const rendered = '[system]be brief[user]hello[assistant]'
const messages: OpenAI.ChatCompletionMessageParam[] = [
  { role: 'developer', content: 'be brief' },
  {
    role: 'user',
    content: [
      { type: 'text', text: 'hel' },
      { type: 'text', text: 'lo' },
    ],
  },
]

let server: TestServer
let openai: OpenAI
before(async () => {
  server = await startTestServer()
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const { registry } = server.app.house
  for (const [name, options] of [
    ['writer', {}],
    ['slow', { slow: 600 }],
    ['short', { context: 12 }],
    ['chat', { chatTemplate: template }],
  ] as const) {
    const { manifest, files } = tinyDecoder(options)
    await registry.register(name, manifest, files)
  }
  const { manifest, files } = await tinyClassifier()
  await registry.register('classifier', manifest, files)
})
after(() => server.close())

async function refused(call: Promise<unknown>) {
  try {
    await call
  } catch (error) {
    assert.ok(error instanceof OpenAI.APIError, String(error))
    return error
  }
  assert.fail('it was not refused')
}

test('completions: greedy text, usage, n prompts times n, stop, echo', async () => {
  const one = await openai.completions.create({ model: 'writer', prompt: 'hello', temperature: 0 })
  assert.deepEqual([one.object, one.model, one.system_fingerprint], ['text_completion', 'writer', 'writer@1'])
  assert.equal(one.choices[0].text, tinyContinuation('hello', 16))
  assert.equal(one.choices[0].finish_reason, 'length')
  assert.deepEqual(one.usage, { prompt_tokens: 5, completion_tokens: 16, total_tokens: 21 })

  const many = await openai.completions.create({
    model: 'writer',
    prompt: ['a', 'bc'],
    n: 3,
    temperature: 0,
    max_tokens: 8,
  })
  assert.deepEqual(
    many.choices.map(({ index, text }) => [index, text]),
    ['a', 'a', 'a', 'bc', 'bc', 'bc'].map((prompt, i) => [i, tinyContinuation(prompt, 8)]),
  )
  assert.equal(many.usage?.prompt_tokens, 3, 'a prompt counts once, however many texts are written for it')
  assert.equal(many.usage?.completion_tokens, 48)

  const whole = tinyContinuation('hello', 40)
  const stop = whole.slice(20, 22)
  const stopped = await openai.completions.create({
    model: 'writer',
    prompt: 'hello',
    temperature: 0,
    max_tokens: 40,
    stop,
    echo: true,
  })
  assert.equal(stopped.choices[0].text, `hello${whole.slice(0, whole.indexOf(stop))}`)
  assert.equal(stopped.choices[0].finish_reason, 'stop')
})

test('completions: prompts of token ids, which are bytes here, say what their texts do', async () => {
  const ids = (text: string) => [...Buffer.from(text)]
  const of = async (prompt: OpenAI.CompletionCreateParams['prompt']) => {
    const made = await openai.completions.create({ model: 'writer', prompt, temperature: 0, max_tokens: 8 })
    return [made.choices.map(({ text }) => text), made.usage?.prompt_tokens]
  }
  const long = 'a long prompt, with more tokens than a request has prompts '.repeat(3)
  assert.deepEqual(await of(ids(long)), [[tinyContinuation(long, 8)], long.length])
  const two = [tinyContinuation('hello', 8), tinyContinuation('hi', 8)]
  assert.deepEqual(await of([ids('hello'), ids('hi')]), [two, 7])
})

test('completions: equal seeds write equal texts, the texts of one request differ', async () => {
  const ask = () =>
    openai.completions.create({ model: 'writer', prompt: 'x', seed: 7, n: 2, temperature: 2, max_tokens: 30, top_p: 1 })
  const [a, b] = [await ask(), await ask()]
  assert.deepEqual(
    a.choices.map(({ text }) => text),
    b.choices.map(({ text }) => text),
  )
})

test('completions: a stream says what the whole says, with usage and log-probabilities', async () => {
  const request = { model: 'writer', prompt: ['hello', '你'], temperature: 0, max_tokens: 24, logprobs: 2 } as const
  const whole = await openai.completions.create({ ...request, prompt: [...request.prompt] })
  const stream = await openai.completions.create({
    ...request,
    prompt: [...request.prompt],
    stream: true,
    stream_options: { include_usage: true },
  })
  const texts = ['', '']
  const logprobs: number[][] = [[], []]
  const finish: (string | null)[] = [null, null]
  let usage: OpenAI.CompletionUsage | null | undefined
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'text_completion')
    if (chunk.choices.length === 0) usage = chunk.usage
    else assert.equal(chunk.usage, null)
    for (const choice of chunk.choices) {
      texts[choice.index] += choice.text
      logprobs[choice.index].push(...(choice.logprobs?.token_logprobs ?? []))
      finish[choice.index] = choice.finish_reason ?? finish[choice.index]
    }
  }
  assert.deepEqual(
    texts,
    whole.choices.map(({ text }) => text),
  )
  assert.deepEqual(
    logprobs,
    whole.choices.map(({ logprobs }) => logprobs?.token_logprobs),
  )
  assert.deepEqual(finish, ['length', 'length'])
  assert.deepEqual(usage, whole.usage)
  const [{ logprobs: told }] = whole.choices
  assert.equal(told?.tokens?.length, 24)
  assert.equal(Object.keys(told?.top_logprobs?.[0] ?? {}).length, 2)
  assert.ok(
    told?.token_logprobs?.every((value) => value <= 0 && value > -1),
    'the likeliest token is likely',
  )
})

test('chat: the model’s own template, n answers, log-probabilities; a stream says what the whole says', async () => {
  const request = {
    model: 'chat',
    messages,
    temperature: 0,
    max_completion_tokens: 12,
    n: 2,
    logprobs: true,
    top_logprobs: 2,
  }
  const whole = await openai.chat.completions.create(request)
  const expected = tinyContinuation(rendered, 12)
  assert.deepEqual([whole.object, whole.model, whole.system_fingerprint], ['chat.completion', 'chat', 'chat@1'])
  assert.deepEqual(
    whole.choices.map(({ index, message, finish_reason }) => [index, message.role, message.content, finish_reason]),
    [0, 1].map((i) => [i, 'assistant', expected, 'length']),
  )
  const [first] = whole.choices[0].logprobs?.content ?? []
  assert.equal(whole.choices[0].logprobs?.content?.length, 12)
  assert.equal(first.top_logprobs.length, 2)
  const bytes = whole.choices[0].logprobs?.content?.flatMap((one) => one.bytes ?? []) ?? []
  assert.ok(Buffer.from(bytes).toString('utf8').startsWith(expected), 'the tokens’ bytes are the text')
  assert.deepEqual(whole.usage, {
    prompt_tokens: rendered.length,
    completion_tokens: 24,
    total_tokens: rendered.length + 24,
  })

  const stream = await openai.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  })
  const texts = ['', '']
  const roles: (string | undefined)[] = []
  const ids = new Set<string>()
  let usage: OpenAI.CompletionUsage | null | undefined
  for await (const chunk of stream) {
    ids.add(chunk.id)
    for (const { index, delta } of chunk.choices) {
      texts[index] += delta.content ?? ''
      if (delta.role) roles.push(delta.role)
    }
    if (chunk.choices.length === 0) usage = chunk.usage
  }
  assert.deepEqual([texts, roles, ids.size, usage], [[expected, expected], ['assistant', 'assistant'], 1, whole.usage])
  // the client's own reading of a stream
  const runner = openai.chat.completions.stream({ model: 'chat', messages, temperature: 0, max_tokens: 12 })
  assert.equal(await runner.finalContent(), expected)
  const error = await refused(openai.chat.completions.create({ model: 'writer', messages }))
  assert.match(error.message, /not trained on conversations/)
})

test('responses: at once and as a stream', async () => {
  const request = { model: 'chat', instructions: 'be brief', input: 'hello', temperature: 0, max_output_tokens: 12 }
  const expected = tinyContinuation(rendered, 12)
  const whole = await openai.responses.create(request)
  assert.equal(whole.output_text, expected)
  assert.deepEqual([whole.status, whole.incomplete_details?.reason], ['incomplete', 'max_output_tokens'])
  assert.deepEqual([whole.usage?.input_tokens, whole.usage?.output_tokens], [rendered.length, 12])
  const listed = await openai.responses.create({
    ...request,
    input: [{ role: 'user', content: [{ type: 'input_text', text: 'hello' }] }],
  })
  assert.equal(listed.output_text, expected)
  const stream = openai.responses.stream(request)
  let text = ''
  const types: string[] = []
  for await (const event of stream) {
    types.push(event.type)
    if (event.type === 'response.output_text.delta') text += event.delta
  }
  assert.equal(text, expected)
  assert.deepEqual([types[0], types.at(-1)], ['response.created', 'response.incomplete'])
  assert.equal((await stream.finalResponse()).output_text, expected)
})

test('a client that goes away stops the writing', async () => {
  const stream = await openai.completions.create({ model: 'slow', prompt: 'x', max_tokens: 4000, stream: true })
  let seen = 0
  for await (const _ of stream) if (++seen === 3) break
  const waiting = async () =>
    (await server.app.house.deployments.list()).find(({ model }) => model === 'slow')?.stats?.waiting
  for (let i = 0; i < 400 && (await waiting()) !== 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(await waiting(), 0)
})

test('what is out of range or cannot be done is refused before anything is written', async () => {
  const completion = (body: object) => () =>
    openai.completions.create({ model: 'writer', prompt: 'x', ...body } as OpenAI.CompletionCreateParamsNonStreaming)
  const chat = (body: object) => () =>
    openai.chat.completions.create({
      model: 'writer',
      messages: [{ role: 'user', content: 'x' }],
      ...body,
    } as OpenAI.ChatCompletionCreateParamsNonStreaming)
  const respond = (body: object) => () =>
    openai.responses.create({
      model: 'writer',
      input: 'x',
      ...body,
    } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
  const cases: [() => Promise<unknown>, number, string | null][] = [
    [completion({ n: 1_000_000 }), 400, 'n'],
    [completion({ n: 0 }), 400, 'n'],
    [completion({ prompt: Array(64).fill('x'), n: 16 }), 400, 'n'],
    [completion({ max_tokens: 0 }), 400, 'max_tokens'],
    [completion({ max_tokens: 1e9 }), 400, 'max_tokens'],
    [completion({ temperature: 3 }), 400, 'temperature'],
    [completion({ temperature: '1' }), 400, 'temperature'],
    [completion({ top_p: 2 }), 400, 'top_p'],
    [completion({ logprobs: 100 }), 400, 'logprobs'],
    [completion({ stop: Array(17).fill('x') }), 400, 'stop'],
    [completion({ prompt: [1, 'x'] }), 400, 'prompt'],
    [completion({ prompt: [[]] }), 400, 'prompt.0'],
    [completion({ prompt: [-1] }), 400, 'prompt.0'],
    [completion({ prompt: [[1], [2.5]] }), 400, 'prompt.1.0'],
    [completion({ prompt: [1, 257] }), 400, null],
    [completion({ prompt: [1], echo: true }), 400, 'echo'],
    [completion({ best_of: 4 }), 400, 'best_of'],
    [completion({ suffix: 'y' }), 400, 'suffix'],
    [completion({ logit_bias: { 50256: -100 } }), 400, 'logit_bias'],
    [completion({ model: 'wirter' }), 404, null],
    [completion({ model: 'classifier' }), 400, null],
    [completion({ model: 'short', prompt: 'far too long a prompt' }), 400, null],
    [chat({ tools: [{ type: 'function', function: { name: 'two words' } }] }), 400, 'tools'],
    [chat({ tools: [{ type: 'function', function: { name: 'f' } }], tool_choice: 'g' }), 400, 'tool_choice'],
    [
      chat({
        response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'string', pattern: 'a' } } },
      }),
      400,
      null,
    ],
    [chat({ response_format: { type: 'yaml' } }), 400, 'response_format.type'],
    [chat({ messages: [] }), 400, 'messages'],
    [chat({ messages: [{ role: 'king', content: 'x' }] }), 400, 'messages.0.role'],
    [
      chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://127.0.0.1/' } }] }] }),
      400,
      'messages.0.content',
    ],
    [chat({ top_logprobs: 2 }), 400, 'top_logprobs'],
    [chat({ max_completion_tokens: -1 }), 400, 'max_completion_tokens'],
    [chat({ n: 100 }), 400, 'n'],
    [respond({ previous_response_id: 'resp_1' }), 400, 'previous_response_id'],
    [respond({ background: true }), 400, 'background'],
    [respond({ tools: [{ type: 'web_search' }] }), 400, 'tools.0'],
    [respond({ tools: [{ type: 'function', name: 'f' }], tool_choice: { type: 'mcp' } }), 400, 'tool_choice'],
    [respond({ tools: [{ type: 'function', name: 'f' }], tool_choice: 'g' }), 400, 'tool_choice'],
    [respond({ input: [{ type: 'function_call_output', output: 'y' }] }), 400, 'input.0'],
    [respond({ input: [{ type: 'item_reference', id: 'msg_1' }] }), 400, 'input.0'],
    [respond({ input: [{ type: 'reasoning', summary: [] }] }), 400, 'input.0'],
    [respond({ max_output_tokens: 0 }), 400, 'max_output_tokens'],
  ]
  for (const [call, status, param] of cases) {
    const error = await refused(call())
    assert.equal(error.status, status, `${param}: ${error.message}`)
    assert.equal(error.param, param, error.message)
    assert.equal(error.type, 'invalid_request_error')
  }
  assert.equal(
    (await refused(completion({ model: 'short', prompt: 'far too long a prompt' })())).code,
    'context_length_exceeded',
  )
  // the same, asked for as a stream: the status tells it, before a stream begins
  const error = await refused(openai.completions.create({ model: 'wirter', prompt: 'x', stream: true }))
  assert.equal(error.status, 404)
})

const Answer = Type.Object(
  {
    mood: Type.Union([Type.Literal('good'), Type.Literal('bad')]),
    score: Type.Optional(Type.Integer()),
    words: Type.Array(Type.String({ maxLength: 5 }), { maxItems: 3 }),
  },
  { additionalProperties: false },
)

const schema: Record<string, unknown> = { ...Answer }

test('JSON by a schema: whatever the model would rather write, the answer is what the schema describes', async () => {
  const seen = new Set<string>()
  for (let seed = 0; seed < 12; seed++) {
    const { choices } = await openai.chat.completions.create({
      model: 'chat',
      messages,
      seed,
      temperature: 2,
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
    })
    assert.equal(choices[0].finish_reason, 'stop')
    const value: unknown = JSON.parse(choices[0].message.content!)
    assert.ok(Check(Answer, value), choices[0].message.content!)
    seen.add(choices[0].message.content!)
  }
  assert.ok(seen.size > 3, 'seeds differ')
  const asked = { model: 'chat', messages, seed: 4, temperature: 2 }
  const parsed = await openai.chat.completions.parse({
    ...asked,
    response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
  })
  assert.ok(Check(Answer, parsed.choices[0].message.parsed))
  const object = await openai.chat.completions.create({
    ...asked,
    max_tokens: 3000,
    response_format: { type: 'json_object' },
  })
  if (object.choices[0].finish_reason === 'stop') JSON.parse(object.choices[0].message.content!)
  assert.match(object.choices[0].message.content!, /^\{/)
  const response = await openai.responses.create({
    model: 'chat',
    input: 'hello',
    text: { format: { type: 'json_schema', name: 'answer', schema } },
  })
  assert.ok(Check(Answer, JSON.parse(response.output_text)), response.output_text)
})

test('tools: a call where one is asked for, at once and as a stream; words where none is', async () => {
  const parameters = { type: 'object', properties: { place: { enum: ['Bern', 'Rome'] } }, required: ['place'] }
  const tools: OpenAI.ChatCompletionFunctionTool[] = [
    { type: 'function', function: { name: 'weather', parameters } },
    { type: 'function', function: { name: 'time', parameters: { type: 'object', additionalProperties: false } } },
  ]
  const body = { model: 'chat', messages, tools, temperature: 2, seed: 1 }
  for (const tool_choice of ['required', { type: 'function', function: { name: 'weather' } }] as const) {
    const { choices } = await openai.chat.completions.create({ ...body, tool_choice })
    assert.deepEqual([choices[0].finish_reason, choices[0].message.content], ['tool_calls', null])
    const [call] = choices[0].message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    const given = JSON.parse(call.function.arguments) as { place?: string }
    if (call.function.name === 'weather') assert.ok(['Bern', 'Rome'].includes(given.place!))
    else assert.deepEqual(given, {})
    if (typeof tool_choice === 'object') assert.equal(call.function.name, 'weather')
    const stream = openai.chat.completions.stream({ ...body, tool_choice })
    const final = await stream.finalChatCompletion()
    assert.deepEqual(
      (final.choices[0].message.tool_calls![0] as typeof call).function.arguments,
      call.function.arguments,
    )
  }
  // greedy, the tiny model writes a letter first: words, not a call
  const words = await openai.chat.completions.create({ ...body, temperature: 0, max_tokens: 8, tool_choice: 'auto' })
  assert.equal(words.choices[0].message.tool_calls, undefined)
  assert.match(words.choices[0].message.content!, /^[^{]+$/)
  const none = await openai.chat.completions.create({ ...body, temperature: 0, max_tokens: 8, tool_choice: 'none' })
  assert.equal(
    none.choices[0].message.content,
    tinyContinuation(rendered, 8),
    'tools that may not be called are not told',
  )
})

test('responses: functions are called, at once and as a stream, and what they return is read', async () => {
  const parameters = { type: 'object', properties: { place: { enum: ['Bern', 'Rome'] } }, required: ['place'] }
  const tools: OpenAI.Responses.FunctionTool[] = [{ type: 'function', name: 'weather', strict: true, parameters }]
  const body = { model: 'chat', input: 'hello', tools, tool_choice: { type: 'function', name: 'weather' } } as const
  const whole = await openai.responses.create({ ...body, temperature: 0 })
  const [call, ...more] = whole.output as OpenAI.Responses.ResponseFunctionToolCall[]
  assert.deepEqual([call.type, call.name, call.status, more.length], ['function_call', 'weather', 'completed', 0])
  assert.ok(['Bern', 'Rome'].includes((JSON.parse(call.arguments) as { place: string }).place))
  assert.deepEqual([whole.status, whole.output_text], ['completed', ''])

  const stream = openai.responses.stream({ ...body, temperature: 0 })
  const types: string[] = []
  for await (const event of stream) types.push(event.type)
  assert.deepEqual(types, [
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.completed',
  ])
  const [streamed] = (await stream.finalResponse()).output as OpenAI.Responses.ResponseFunctionToolCall[]
  assert.deepEqual([streamed.name, streamed.arguments], [call.name, call.arguments])

  const input: OpenAI.Responses.ResponseInput = [
    { role: 'user', content: 'hello' },
    call,
    { type: 'function_call_output', call_id: call.call_id, output: [{ type: 'input_text', text: 'rain' }] },
  ]
  const after = { model: 'chat', input, tools, tool_choice: 'none', temperature: 0, max_output_tokens: 8 } as const
  const read = `[user]hello[assistant]{"name": "weather", "arguments": ${call.arguments}}[user]The function returned:\nrain[assistant]`
  assert.equal((await openai.responses.create(after)).output_text, tinyContinuation(read, 8))
})
