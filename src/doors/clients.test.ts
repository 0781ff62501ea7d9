import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { InferenceClient } from '@huggingface/inference'
import { Client as McpClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { type Message, Ollama } from 'ollama'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../testing/tiny-decoder.ts'
import { tinyEncoderBundle } from '../testing/tiny-encoder.ts'
import { tinyVision } from '../testing/tiny-vision.ts'
import { IMAGE } from './hub.ts'

let server: TestServer
const ports: Record<string, string> = {}

/** TensorFlow Serving's first example: half of x, plus two. */
function halfPlusTwo() {
  const g = new GraphBuilder()
  g.output(o.add(o.mul(g.input('x', 'float32', ['batch']), 0.5), 2), 'y')
  return writeModel(g.build())
}

before(async () => {
  const doorPorts = ['tfserving', 'ollama'].map((name) => ({ name, port: 0 }))
  const single = ['mlflow', 'tei'].map((name) => ({ name, model: 'tiny', port: 0 }))
  server = await startTestServer({ doorPorts: [...doorPorts, ...single] })
  for (const { name, port } of server.app.doorPorts) ports[name] = `http://127.0.0.1:${port}`
  const { registry } = server.app.house
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', { ...manifest, description: 'Sorts letters.' }, files)
  await registry.register('tiny', manifest, files)
  const writer = tinyDecoder()
  await registry.register('writer', writer.manifest, writer.files)
  const chat = tinyDecoder({ chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}' })
  await registry.register('chat', chat.manifest, chat.files)
  const caller = tinyDecoder({ chatTemplate: '{{ messages | length }}', letters: Buffer.from('{') }) // begins a call
  await registry.register('caller', caller.manifest, caller.files)
  const mask = tinyEncoderBundle(['the cat sat on the mat'], { task: 'fill-mask' }, [])
  await registry.register('mask', mask.manifest, mask.files)
  const see = tinyVision()
  await registry.register('see', see.manifest, see.files)
  for (const [name, onnx] of [
    ['plain', tinyGraph()],
    ['half_plus_two', halfPlusTwo()],
  ] as const) {
    const headers = { 'content-type': 'application/octet-stream' }
    await fetch(`${server.url}/api/models/${name}/versions`, { method: 'POST', body: onnx as BodyInit, headers })
  }
})
after(() => server.close())

const json = async (url: string, body?: unknown) => {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(url, body === undefined ? {} : { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
const labels = async (text: string) => {
  const { body } = await json(`${server.url}/api/models/tiny/predict`, { inputs: text })
  return (body.outputs as { label: string; score: number }[][])[0]
}
const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-5, `${a} and ${b}`)

test('Hugging Face: classification and generation with its client', async () => {
  const expected = await labels('the fox')
  const hf = new InferenceClient('hf_none').endpoint(`${server.url}/hf/models/tiny`)
  const got = await hf.textClassification({ inputs: 'the fox', parameters: { top_k: 2 } })
  assert.deepEqual(
    got.map(({ label }) => label),
    expected.slice(0, 2).map(({ label }) => label),
  )
  near(got[0].score, expected[0].score)

  const writer = new InferenceClient('hf_none').endpoint(`${server.url}/hf/models/writer`)
  const parameters = { max_new_tokens: 12, do_sample: false }
  const { generated_text } = await writer.textGeneration({ inputs: 'hello', parameters })
  assert.equal(generated_text, tinyContinuation('hello', 12))
  let streamed = ''
  // the client passes on what its server sends: chunks in OpenAI's form
  for await (const chunk of writer.textGenerationStream({ inputs: 'hello', parameters }))
    streamed += (chunk as unknown as { choices: { text: string }[] }).choices[0].text
  assert.equal(streamed, generated_text)
  // as Text Generation Inference has it
  const tgi = { inputs: 'hello', parameters: { ...parameters, details: true } }
  const whole = (await json(`${server.url}/hf/models/writer`, tgi)).body as unknown as {
    generated_text: string
    details: { tokens: { id: number; text: string; logprob: number }[] }
  }[]
  assert.equal(whole[0].generated_text, generated_text)
  const { tokens } = whole[0].details
  assert.equal(Buffer.from(tokens.map(({ id }) => id)).toString(), generated_text, 'the tokens are bytes here')
  const events = await fetch(`${server.url}/hf/models/writer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...tgi, stream: true }),
  })
  const chunks = (await events.text())
    .split('\n\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => JSON.parse(line.slice(6)) as { token: { text: string }; generated_text: string | null })
  assert.equal(chunks.map(({ token }) => token.text).join(''), generated_text)
  assert.equal(chunks.at(-1)?.generated_text, generated_text)

  const mask = new InferenceClient('hf_none').endpoint(`${server.url}/hf/models/mask`)
  const fills = await mask.fillMask({ inputs: 'the [MASK] sat', parameters: { top_k: 3 } })
  const [words] = (await json(`${server.url}/api/models/mask/predict`, { inputs: 'the [MASK] sat' })).body.outputs as {
    token: string
    id: number
    score: number
  }[][][]
  assert.deepEqual(
    fills.map(({ score, token, token_str }) => ({ token: token_str, id: token, score })),
    words[0].slice(0, 3),
  )
  const { sequence, token_str: piece = '' } = fills[0]
  assert.equal(sequence, piece.startsWith('##') ? `the${piece.slice(2)} sat` : `the ${piece} sat`)

  const tensors = await json(`${server.url}/hf/models/plain`, { inputs: { x: [[1, 2, 3]], n: [1] } })
  assert.deepEqual(tensors.body, { y: [[3, 5, 7]], m: [2] })
  const cases: [string, unknown, number][] = [
    ['tinny', { inputs: 'x' }, 404],
    ['tiny', {}, 400],
    ['tiny', { inputs: 5 }, 400],
    ['tiny', { inputs: 'x', parameters: { top_k: 0 } }, 400],
    ['writer', { inputs: 'x', parameters: { max_new_tokens: 'many' } }, 400],
    ['writer', { inputs: 'x', parameters: { temperature: -1 } }, 400],
  ]
  for (const [model, body, status] of cases) {
    const answer = await json(`${server.url}/hf/models/${model}`, body)
    assert.equal(answer.status, status)
    assert.equal(typeof answer.body.error, 'string')
  }
})

test('Text Embeddings Inference: predict and info, at a port of its own', async () => {
  const expected = await labels('the fox')
  for (const base of [`${server.url}/tei/tiny`, ports.tei]) {
    const one = (await json(`${base}/predict`, { inputs: 'the fox' })).body as unknown as typeof expected
    assert.deepEqual(one[0].label, expected[0].label)
    const many = (await json(`${base}/predict`, { inputs: ['the fox', 'x'] })).body as unknown as (typeof expected)[]
    assert.equal(many.length, 2)
    near(many[0][0].score, expected[0].score)
    const { model_type, model_id } = (await json(`${base}/info`)).body
    assert.equal(model_id, 'tiny')
    assert.deepEqual((model_type as { classifier: { id2label: unknown } }).classifier.id2label, {
      0: 'a',
      1: 'b',
      2: 'c',
    })
    const refused = await json(`${base}/predict`, { inputs: 5 })
    assert.deepEqual([refused.status, refused.body.error_type], [400, 'Validation'])
  }
})

test('TensorFlow Serving: its documented curl calls, at a port of its own', async () => {
  const curl = async (...args: string[]) =>
    JSON.parse((await promisify(execFile)('curl', ['-s', ...args])).stdout) as Record<string, unknown>
  const at = `${ports.tfserving}/v1/models`
  assert.deepEqual(await curl('-d', '{"instances": [1.0, 2.0, 5.0]}', '-X', 'POST', `${at}/half_plus_two:predict`), {
    predictions: [2.5, 3, 4.5],
  })
  assert.deepEqual(await curl('-d', '{"inputs": [1.0, 2.0, 5.0]}', `${at}/half_plus_two/versions/1:predict`), {
    outputs: [2.5, 3, 4.5],
  })
  assert.deepEqual(await curl(`${at}/half_plus_two`), {
    model_version_status: [{ version: '1', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } }],
  })
  const { model_spec, metadata } = (await curl(`${at}/half_plus_two/metadata`)) as {
    model_spec: unknown
    metadata: { signature_def: { signature_def: { serving_default: { inputs: { x: unknown } } } } }
  }
  assert.deepEqual(model_spec, { name: 'half_plus_two', signature_name: '', version: '1' })
  assert.deepEqual(metadata.signature_def.signature_def.serving_default.inputs.x, {
    name: 'x:0',
    dtype: 'DT_FLOAT',
    tensor_shape: { dim: [{ size: '-1', name: '' }], unknown_rank: false },
  })

  // several inputs, by rows and by columns; texts
  const post = (path: string, body: unknown) => json(`${at}/${path}`, body)
  assert.deepEqual((await post('plain:predict', { inputs: { x: [[1, 2, 3]], n: [1] } })).body, {
    outputs: { y: [[3, 5, 7]], m: [2] },
  })
  const [best] = await labels('the fox')
  const rows = (await post('tiny:predict', { instances: [{ text: 'the fox' }, { text: { b64: 'eA==' } }] })).body
  const predictions = rows.predictions as { label: string; score: number; probabilities: number[] }[]
  assert.deepEqual([predictions.length, predictions[0].label, predictions[0].probabilities.length], [2, best.label, 3])
  const classified = (await post('tiny:classify', { examples: [{ text: 'the fox' }] })).body
  assert.equal((classified.result as [string, number][][])[0][0][0], best.label)

  const cases: [string, unknown, number, string][] = [
    ['half_plus_tow:predict', { instances: [1] }, 404, 'half_plus_two'],
    ['half_plus_two:regress', { instances: [1] }, 400, ':predict'],
    ['half_plus_two:predict', {}, 400, 'instances'],
    ['half_plus_two:predict', { instances: [1], signature_name: 'other' }, 400, 'signature_name'],
    ['half_plus_two:predict', { instances: [1, [2]] }, 400, 'expected'],
    ['half_plus_two:predict', { instances: ['x'] }, 400, 'a number'],
    ['plain:predict', { instances: [1] }, 400, 'several inputs'],
    ['plain:predict', { inputs: { x: [[1, 2], [3]], n: [1] } }, 400, 'differ in length'],
    ['plain:predict', { inputs: { z: [1] } }, 400, 'no input "z"'],
    ['tiny:classify', { examples: [{}] }, 400, 'examples[0].text'],
  ]
  for (const [path, body, status, part] of cases) {
    const answer = await post(path, body)
    assert.equal(answer.status, status, JSON.stringify(answer.body))
    assert.ok(String(answer.body.error).includes(part), String(answer.body.error))
  }
  const foreign = await fetch(`${at}/half_plus_two:predict`, {
    method: 'POST',
    body: '{"instances":[1]}',
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://elsewhere.example' },
  })
  assert.equal(foreign.status, 400, 'a form of another site is not served')
})

test('MLflow scoring: tables and tensors, at a port of its own', async () => {
  const [best] = await labels('the fox')
  const at = ports.mlflow
  assert.equal((await fetch(`${at}/ping`)).status, 200)
  assert.match(await (await fetch(`${at}/version`)).text(), /^\d+\.\d+/)
  for (const body of [
    { dataframe_split: { columns: ['text'], data: [['the fox'], ['x']] } },
    { dataframe_records: [{ text: 'the fox' }, { text: 'x' }] },
    { dataframe_split: { columns: ['anything'], data: [['the fox'], ['x']] } },
    { inputs: ['the fox', 'x'] },
    { instances: ['the fox', 'x'], params: {} },
  ]) {
    const { predictions } = (await json(`${at}/invocations`, body)).body as { predictions: (typeof best)[] }
    assert.equal(predictions.length, 2)
    assert.equal(predictions[0].label, best.label)
    near(predictions[0].score, best.score)
  }
  assert.deepEqual((await json(`${server.url}/mlflow/half_plus_two/invocations`, { inputs: { x: [1, 2] } })).body, {
    predictions: [2.5, 3],
  })
  const table = { columns: ['p', 'q', 'r'], data: [[1, 2, 3]] }
  const several = await json(`${server.url}/mlflow/plain/invocations`, { dataframe_split: table })
  assert.deepEqual([several.status, several.body.error_code], [400, 'BAD_REQUEST'])
  const cases: [string, unknown, number, string][] = [
    ['tiny', {}, 400, 'BAD_REQUEST'],
    ['tiny', { inputs: ['x'], instances: ['x'] }, 400, 'BAD_REQUEST'],
    ['tiny', { dataframe_split: { columns: ['a', 'b'], data: [['x']] } }, 400, 'BAD_REQUEST'],
    ['tiny', { dataframe_records: [{ text: 'x' }, {}] }, 400, 'BAD_REQUEST'],
    ['nope', { inputs: ['x'] }, 404, 'RESOURCE_DOES_NOT_EXIST'],
  ]
  for (const [model, body, status, code] of cases) {
    const answer = await json(`${server.url}/mlflow/${model}/invocations`, body)
    assert.deepEqual([answer.status, answer.body.error_code], [status, code])
  }
})

test('Ollama: its client at a port of its own', async () => {
  const ollama = new Ollama({ host: ports.ollama })
  assert.equal(await (await fetch(ports.ollama)).text(), 'Ollama is running')
  assert.match((await ollama.version()).version, /^\d/)
  const { models } = await ollama.list()
  assert.deepEqual(models.map(({ name }) => name).sort(), [
    'caller:latest',
    'chat:latest',
    'half_plus_two:latest',
    'mask:latest',
    'plain:latest',
    'see:latest',
    'tiny:latest',
    'writer:latest',
  ])
  assert.ok(models.every(({ size, digest }) => size > 0 && /^[0-9a-f]{64}$/.test(digest)))
  const shown = await ollama.show({ model: 'writer:1' })
  assert.deepEqual([shown.details.format, shown.capabilities], ['onnx', ['completion']])

  const options = { temperature: 0, num_predict: 12 }
  const whole = await ollama.generate({ model: 'writer', prompt: 'hello', options })
  assert.equal(whole.response, tinyContinuation('hello', 12))
  assert.deepEqual([whole.done, whole.done_reason, whole.eval_count, whole.prompt_eval_count], [true, 'length', 12, 5])
  assert.ok(whole.total_duration > 0)
  let text = ''
  let last = false
  for await (const part of await ollama.generate({ model: 'writer', prompt: 'hello', options, stream: true })) {
    text += part.response
    last = part.done
  }
  assert.deepEqual([text, last], [whole.response, true])

  await ollama.generate({ model: 'writer', prompt: '' })
  assert.ok((await ollama.ps()).models.some(({ name }) => name === 'writer:1'))
  const away = await ollama.generate({ model: 'writer', prompt: '', keep_alive: 0 })
  assert.equal(away.done_reason, 'unload')
  assert.ok(!(await ollama.ps()).models.some(({ name }) => name === 'writer:1'))

  const curl = await promisify(execFile)('curl', [
    '-s',
    `${ports.ollama}/api/generate`,
    '-d',
    '{"model":"writer","prompt":"hello","stream":false,"options":{"temperature":0,"num_predict":3}}',
  ])
  assert.equal((JSON.parse(curl.stdout) as { response: string }).response, tinyContinuation('hello', 3))
  assert.equal((await fetch(`${ports.ollama}/v1/models`)).status, 200, 'OpenAI’s paths are there, as with Ollama')

  const refused: [() => Promise<unknown>, string, number][] = [
    [() => ollama.generate({ model: 'wirter', prompt: 'x' }), 'Did you mean "writer"', 404],
    [() => ollama.generate({ model: 'tiny', prompt: 'x' }), 'tiny', 400],
    [() => ollama.generate({ model: 'writer', prompt: 'x', format: 'yaml' }), 'format', 400],
    [() => ollama.generate({ model: 'writer', prompt: 'x', think: true }), 'think', 400],
    [() => ollama.generate({ model: 'writer', prompt: 'x', options: { temperature: -1 } }), 'temperature', 400],
    [
      () => ollama.chat({ model: 'writer', messages: [{ role: 'user', content: 'x', images: ['eA=='] }] }),
      'images',
      400,
    ],
    [() => ollama.pull({ model: 'llama3' }), 'not served', 400],
    [() => ollama.show({ model: 'none' }), 'no model', 404],
  ]
  for (const [call, part, status] of refused) {
    await assert.rejects(call(), (error: Error & { status_code?: number }) => {
      assert.equal(error.status_code, status, error.message)
      return error.message.includes(part)
    })
  }

  // answers of a form, and calls
  const schema = { type: 'object', properties: { mood: { enum: ['good', 'bad'] } }, required: ['mood'] }
  const formed = await ollama.generate({ model: 'writer', prompt: 'x', format: schema, options: { seed: 1 } })
  assert.ok(['good', 'bad'].includes((JSON.parse(formed.response ?? '') as { mood: string }).mood), formed.response)
  const parameters = {
    type: 'object',
    properties: { place: { type: 'string', enum: ['Bern', 'Rome'] } },
    required: ['place'],
  }
  const tools = [{ type: 'function', function: { name: 'weather', description: '', parameters } }]
  const asked: Message[] = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: '', tool_calls: [{ function: { name: 'weather', arguments: { place: 'Bern' } } }] },
    { role: 'tool', content: 'rain', tool_name: 'weather' },
  ]
  for (const stream of [false, true] as const) {
    const calls: { name: string; arguments: Record<string, unknown> }[] = []
    const body = { model: 'caller', messages: asked, tools, options: { temperature: 0, num_predict: 60 } }
    const parts = stream
      ? await ollama.chat({ ...body, stream: true })
      : [await ollama.chat({ ...body, stream: false })]
    for await (const { message } of parts) calls.push(...(message.tool_calls ?? []).map((call) => call.function))
    assert.deepEqual(calls, [{ name: 'weather', arguments: { place: 'Bern' } }])
  }
  const probable = await ollama.generate({ model: 'writer', prompt: 'hello', options, logprobs: true, top_logprobs: 2 })
  assert.deepEqual([probable.logprobs?.length, probable.logprobs?.[0].top_logprobs?.length], [12, 2])

  const { manifest, files } = await tinyClassifier()
  await server.app.house.registry.register('gone', manifest, files)
  await ollama.delete({ model: 'gone' })
  await assert.rejects(ollama.show({ model: 'gone' }))
})

test('Model Context Protocol: every model is a tool', async () => {
  const client = new McpClient({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`)) as never)
  assert.equal(client.getServerVersion()?.name, 'athanor')
  await client.ping()
  const { tools } = await client.listTools()
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['caller', 'chat', 'half_plus_two', 'mask', 'plain', 'see', 'tiny', 'writer'],
  )
  const schema = (name: string) =>
    tools.find((tool) => tool.name === name)?.inputSchema as { properties: Record<string, object> }
  assert.deepEqual(schema('plain').properties.x, {
    type: 'array',
    items: { type: 'array', items: { type: 'number' }, minItems: 3, maxItems: 3 },
  })

  const call = (name: string, given: Record<string, unknown>) => client.callTool({ name, arguments: given })
  const [best] = await labels('the fox')
  const classified = (await call('tiny', { text: 'the fox' })).structuredContent as { label: string; labels: unknown[] }
  assert.deepEqual([classified.label, classified.labels.length], [best.label, 3])
  assert.deepEqual((await call('plain', { x: [[1, 2, 3]], n: [1] })).structuredContent, { y: [[3, 5, 7]], m: [2] })
  assert.deepEqual((await call('writer', { prompt: 'hello', max_tokens: 5, temperature: 0 })).structuredContent, {
    text: tinyContinuation('hello', 5),
    finish: 'length',
  })
  const said = (await call('chat', { prompt: 'hello', max_tokens: 5, temperature: 0 })).structuredContent
  assert.equal((said as { text: string }).text, tinyContinuation('hello', 5), 'a model of conversations is talked to')
  const seen = (await call('see', { image: IMAGE })).structuredContent as { label: string; labels: unknown[] }
  assert.deepEqual([['dark', 'light'].includes(seen.label), seen.labels.length], [true, 2])
  for (const [name, given, part] of [
    ['see', { image: 'http://127.0.0.1/x.png' }, 'not fetched'],
    ['tiny', {}, 'text: expected a string'],
    ['plain', { x: [[1, 2]], n: [1] }, 'expected 3, got 2'],
    ['writer', { prompt: 'x', max_tokens: 0 }, 'maxTokens'],
  ] as const) {
    const { isError, content } = await call(name, given)
    assert.equal(isError, true)
    assert.ok(JSON.stringify(content).includes(part), JSON.stringify(content))
  }
  await assert.rejects(call('tinny', { text: 'x' }), /Did you mean "tiny"/)
  await client.close()

  assert.equal((await fetch(`${server.url}/mcp`)).status, 405)
  const raw = await json(`${server.url}/mcp`, { jsonrpc: '2.0', id: 1, method: 'nothing' })
  assert.equal((raw.body.error as { code: number }).code, -32601)
  const wrong = await json(`${server.url}/mcp`, [1])
  assert.deepEqual([wrong.status, wrong.body.jsonrpc], [400, '2.0'])
})
