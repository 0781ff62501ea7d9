import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../testing/tiny.ts'
import { tinyDecoder } from '../testing/tiny-decoder.ts'
import { tinyEmbedder } from '../testing/tiny-embedder.ts'
import { tinyVision } from '../testing/tiny-vision.ts'
import { IMAGE } from './hub.ts'

// Every door against every kind of mistake: the protocol's own error, the right status, and nothing of the inside.

type Json = Record<string, unknown>

let server: TestServer
const limits = { textLimit: 2000, batchLimit: 8, bodyLimit: 200_000 }
before(async () => {
  server = await startTestServer(limits)
  const { registry } = server.app.house
  const guard = { labels: ['ok', 'insult', 'threat'] }
  const chatTemplate = '{% for m in messages %}{{ m.content }}{% endfor %}'
  for (const [name, { manifest, files }] of [
    ['tiny', await tinyClassifier(guard)],
    ['vectors', await tinyEmbedder()],
    ['writer', tinyDecoder({ context: 64, chatTemplate })],
    ['vision', tinyVision()],
    ['slow', tinyDecoder({ slow: 600, chatTemplate })],
  ] as const)
    await registry.register(name, manifest, files)
  const headers = { 'content-type': 'application/octet-stream' }
  const body = tinyGraph() as BodyInit
  await fetch(`${server.url}/api/models/plain/versions`, { method: 'POST', body, headers })
})
after(() => server.close())

/** A request that is answered, and the fields of it that have a range, each with values outside. */
interface Good {
  door: keyof typeof shapes
  model: string
  path: string
  body: Json
  ranges?: Record<string, readonly unknown[]>
  /** Where a text, and where a list of them lies: too long, or too many, is refused. */
  text?: string
  list?: string
}

const count = [0, -1, 1.5, 1e12, '1'] as const
const share = [-0.1, 1.1, '1'] as const
/** Token ids that no model of these tests has, and mixtures. */
const ids = [[], 5, [-5], [1.5], [1e9], [[1e9]], [[]], [[1], 'x'], [[[1]]], [null]] as const
const penalty = [-2.1, 2.1, '1'] as const
const seed = [-1, 2 ** 32, 0.5, '1'] as const
const openaiRanges = {
  temperature: [-0.1, 2.1, '1'],
  top_p: share,
  presence_penalty: penalty,
  frequency_penalty: penalty,
  seed,
}
const messages = [{ role: 'user', content: 'x' }]
const tensor = { name: 'x', datatype: 'FP32', shape: [1, 3], data: [1, 2, 3] }
const other = { name: 'n', datatype: 'INT64', shape: [1], data: [1] }
const texts = { name: 'text', datatype: 'BYTES', shape: [1], data: ['x'] }

const goods: Good[] = [
  {
    door: 'native',
    model: 'tiny',
    path: '/api/models/tiny/predict',
    body: { inputs: ['x'], parameters: { topK: 1, deadline: 30_000 } },
    ranges: { 'parameters.topK': count, 'parameters.deadline': count },
    text: 'inputs.0',
    list: 'inputs',
  },
  {
    door: 'native',
    model: 'plain',
    path: '/api/models/plain/predict',
    body: { inputs: { x: { shape: [1, 3], data: [1, 2, 3] }, n: { shape: [1], data: [1] } } },
    ranges: { 'inputs.x.shape.0': [-1, 2, 0.5, 1e15], 'inputs.n.data.0': [0.5, 'x', 2 ** 60] },
  },
  {
    door: 'native',
    model: 'vision',
    path: '/api/models/vision/predict',
    body: { inputs: [IMAGE] },
    ranges: { 'inputs.0': ['', '!', 'aGVsbG8=', 'http://127.0.0.1/x.png', 'data:image/png,x', 'file:///etc/passwd'] },
    list: 'inputs',
  },
  {
    door: 'native',
    model: 'writer',
    path: '/api/models/writer/generate',
    body: { prompt: 'x', parameters: { maxTokens: 2, temperature: 0, topP: 1, topK: 0, seed: 1, stop: ['y'] } },
    ranges: {
      'parameters.maxTokens': count,
      'parameters.temperature': [-1, 101, '1'],
      'parameters.topP': share,
      'parameters.topK': [-1, 1.5, 1e9],
      'parameters.seed': seed,
      'parameters.stop': [Array(17).fill('x'), [''], 'x', [1]],
    },
    text: 'prompt',
  },
  {
    door: 'openai',
    model: 'writer',
    path: '/v1/chat/completions',
    body: { model: 'writer', messages, max_completion_tokens: 2, n: 1, logprobs: true, top_logprobs: 1, stop: ['y'] },
    ranges: {
      ...openaiRanges,
      max_completion_tokens: count,
      n: count,
      top_logprobs: [-1, 21, 0.5, '1'],
      stop: [Array(17).fill('x'), 5],
      logit_bias: [{ 5: 1 }, 'x'],
      'messages.0.role': ['king', 5, null],
      'messages.0.content': [5, [{ type: 'image_url', image_url: { url: 'http://127.0.0.1/' } }]],
      response_format: [
        'json',
        { type: 'yaml' },
        { type: 'json_schema' },
        { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'nonsense' } } },
        { type: 'json_schema', json_schema: { name: 'a', schema: { $ref: '#/nowhere' } } },
      ],
      tools: ['x', [{}], [{ type: 'function', function: { name: 'two words' } }]],
    },
    text: 'messages.0.content',
  },
  {
    door: 'openai',
    model: 'writer',
    path: '/v1/completions',
    body: { model: 'writer', prompt: ['x'], max_tokens: 2, n: 1 },
    ranges: {
      ...openaiRanges,
      prompt: ids,
      max_tokens: count,
      n: count,
      logprobs: [-1, 21, 0.5],
      suffix: ['x'],
      best_of: [2, 0],
    },
    text: 'prompt.0',
  },
  {
    door: 'openai',
    model: 'writer',
    path: '/v1/responses',
    body: { model: 'writer', input: 'x', max_output_tokens: 2 },
    ranges: {
      temperature: openaiRanges.temperature,
      top_p: share,
      max_output_tokens: count,
      top_logprobs: [-1, 21],
      input: [5, [], [{ type: 'image' }], [5]],
    },
    text: 'input',
  },
  {
    door: 'openai',
    model: 'vectors',
    path: '/v1/embeddings',
    body: { model: 'vectors', input: ['x'], dimensions: 4 },
    ranges: { dimensions: [...count, 9], encoding_format: ['hex', 5], input: ids },
    text: 'input.0',
    list: 'input',
  },
  {
    door: 'openai',
    model: 'tiny',
    path: '/v1/moderations',
    body: { model: 'tiny', input: ['x'] },
    ranges: { input: [[], 5, [5]] },
    text: 'input.0',
    list: 'input',
  },
  {
    door: 'openai',
    model: 'tiny',
    path: '/classify',
    body: { model: 'tiny', input: ['x'] },
    ranges: { input: [[], 5, [5]] },
    text: 'input.0',
    list: 'input',
  },
  {
    door: 'openai',
    model: 'vectors',
    path: '/v1/rerank',
    body: { model: 'vectors', query: 'x', documents: ['y'], top_n: 1 },
    ranges: { top_n: [-1, 1.5, 1e9, 'x'], documents: [[], 5, [5]], query: [5] },
    text: 'query',
    list: 'documents',
  },
  {
    door: 'openai',
    model: 'vectors',
    path: '/v1/score',
    body: { model: 'vectors', text_1: 'x', text_2: ['y'] },
    ranges: { text_1: [5, [], ['a', 'b']] },
    text: 'text_1',
    list: 'text_2',
  },
  {
    door: 'oip',
    model: 'plain',
    path: '/v2/models/plain/infer',
    body: { inputs: [tensor, other] },
    ranges: {
      'inputs.0.shape': [[1, 4], [2, 3], [-1, 3], [1e9, 1e9], [0.5, 3], 'x', [3], []],
      'inputs.0.datatype': ['FP99', 'FP16', 'BYTES', 'INT64', 5],
      'inputs.0.data': [[1, 2], [1, 2, 'x'], 5, null, [[1, 2], 3, 4]],
      'inputs.1.data.0': [0.5, 2 ** 60, 'x'],
      'inputs.0.name': ['z', 5, '__proto__'],
      'inputs.0.parameters': [{ binary_data_size: 12 }, { binary_data_size: -1 }, { binary_data_size: 'x' }],
      outputs: [[{ name: 'z' }], 5, [{}]],
      inputs: [[], 5, [tensor, tensor], [tensor]],
    },
  },
  {
    door: 'oip',
    model: 'tiny',
    path: '/v2/models/tiny/infer',
    body: { inputs: [texts] },
    ranges: { 'inputs.0.data.0': [5, null], 'inputs.0.datatype': ['FP32'], 'inputs.0.name': ['z'] },
    text: 'inputs.0.data.0',
  },
  ...['generate', 'generate_stream'].map(
    (action): Good => ({
      door: 'oip',
      model: 'writer',
      path: `/v2/models/writer/${action}`,
      body: { text_input: 'x', parameters: { max_tokens: 2, temperature: 0 } },
      ranges: { 'parameters.max_tokens': count, 'parameters.temperature': [-1, 101, 'x'], text_input: [5, null] },
      text: 'text_input',
    }),
  ),
  {
    door: 'hf',
    model: 'tiny',
    path: '/hf/models/tiny',
    body: { inputs: ['x'], parameters: { top_k: 1 } },
    ranges: { 'parameters.top_k': count, inputs: [5, [], [5], null] },
    text: 'inputs.0',
    list: 'inputs',
  },
  {
    door: 'hf',
    model: 'writer',
    path: '/hf/models/writer',
    body: { inputs: 'x', parameters: { max_new_tokens: 2, temperature: 1 } },
    ranges: {
      'parameters.max_new_tokens': count,
      'parameters.temperature': [-1, 101, 'x'],
      'parameters.stop': ['x', [5]],
      inputs: [5, ['a', 'b']],
    },
    text: 'inputs',
  },
  {
    door: 'hf',
    model: 'vision',
    path: '/hf/models/vision',
    body: { inputs: IMAGE },
    ranges: { inputs: ['', '!', 'aGVsbG8=', 'http://127.0.0.1/x.png', 'data:,x', 5] },
  },
  {
    door: 'hf',
    model: 'plain',
    path: '/hf/models/plain',
    body: { inputs: { x: [[1, 2, 3]], n: [1] } },
    ranges: { inputs: [5, 'x', {}], 'inputs.x': [[[1, 2]], [[1, 2, 'x']], [[1, 2, 3], [4]], 'x', 5] },
  },
  {
    door: 'tei',
    model: 'tiny',
    path: '/tei/tiny/predict',
    body: { inputs: ['x'] },
    ranges: { inputs: [5, [], [5], [['a', 'b']]], raw_scores: [true, 5] },
    text: 'inputs.0',
    list: 'inputs',
  },
  {
    door: 'tei',
    model: 'vectors',
    path: '/tei/vectors/embed',
    body: { inputs: ['x'], dimensions: 4 },
    ranges: { inputs: [5, [], [5]], dimensions: [...count, 9] },
    text: 'inputs.0',
    list: 'inputs',
  },
  {
    door: 'tei',
    model: 'vectors',
    path: '/tei/vectors/rerank',
    body: { query: 'x', texts: ['y'] },
    ranges: { query: [5, null], texts: [5, [], [5]] },
    text: 'query',
    list: 'texts',
  },
  {
    door: 'tfserving',
    model: 'plain',
    path: '/tfserving/v1/models/plain:predict',
    body: { inputs: { x: [[1, 2, 3]], n: [1] } },
    ranges: {
      'inputs.x': [[[1, 2]], [[1, 2, 'x']], [[1, 2, 3], [4]], 'x'],
      inputs: [5, 'x'],
      signature_name: ['z', 5],
    },
  },
  {
    door: 'tfserving',
    model: 'tiny',
    path: '/tfserving/v1/models/tiny:classify',
    body: { examples: [{ text: 'x' }] },
    ranges: { examples: [5, [], [{}], [5]] },
    text: 'examples.0.text',
  },
  {
    door: 'tfserving',
    model: 'vision',
    path: '/tfserving/v1/models/vision:predict',
    body: { instances: [{ b64: IMAGE }] },
    ranges: { 'instances.0.b64': ['', '!', 'aGVsbG8=', 'http://127.0.0.1/x.png'] },
  },
  {
    door: 'mlflow',
    model: 'tiny',
    path: '/mlflow/tiny/invocations',
    body: { dataframe_split: { columns: ['text'], data: [['x']] } },
    ranges: {
      'dataframe_split.data': [[[]], [['a', 'b']], 5, [[5]]],
      'dataframe_split.columns': [[], 5],
      inputs: [['x']],
    },
    text: 'dataframe_split.data.0.0',
  },
  {
    door: 'ollama',
    model: 'writer',
    path: '/ollama/api/generate',
    body: { model: 'writer', prompt: 'x', stream: false, options: { num_predict: 2 } },
    ranges: {
      'options.num_predict': [0, 0.5, 'x'],
      'options.temperature': [-1, 101, 'x'],
      'options.stop': [[5]],
      format: ['yaml', 5, { type: 'nonsense' }],
      top_logprobs: [-1, 21],
      images: [[IMAGE]],
    },
    text: 'prompt',
  },
  {
    door: 'ollama',
    model: 'writer',
    path: '/ollama/api/chat',
    body: { model: 'writer', messages, options: { num_predict: 2 } },
    ranges: { messages: [5, [5], [{}]], tools: ['x', [{}]] },
    text: 'messages.0.content',
  },
  {
    door: 'ollama',
    model: 'vectors',
    path: '/ollama/api/embed',
    body: { model: 'vectors', input: ['x'], dimensions: 4 },
    ranges: { dimensions: [...count, 9], input: [5, [], [5]] },
    text: 'input.0',
    list: 'input',
  },
  {
    door: 'mcp',
    model: 'tiny',
    path: '/mcp',
    body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'tiny', arguments: { text: 'x', top_k: 1 } } },
    ranges: {
      'params.arguments.top_k': count,
      'params.arguments': [5, [], null],
      'params.name': [5, null],
      method: ['nothing'],
      jsonrpc: ['1.0'],
    },
    text: 'params.arguments.text',
  },
  {
    door: 'mcp',
    model: 'writer',
    path: '/mcp',
    body: {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'writer', arguments: { prompt: 'x', max_tokens: 2 } },
    },
    ranges: { 'params.arguments.max_tokens': count, 'params.arguments.stop': ['x', [5]] },
    text: 'params.arguments.prompt',
  },
]

const sentence = ({ error }: Json) => error
const shapes = {
  native: ({ error }: Json) => {
    const { code, message, hint, requestId } = error as Record<string, string>
    return /^[A-Z_]+$/.test(code) && hint && requestId && `${message}. ${hint}`
  },
  openai: ({ error }: Json) => {
    const { message, type, param, code } = error as Json
    return type === 'invalid_request_error' && (param === null || typeof param === 'string') && code && message
  },
  oip: sentence,
  hf: sentence,
  tfserving: sentence,
  ollama: sentence,
  tei: ({ error, error_type }: Json) => error_type === 'Validation' && error,
  mlflow: ({ error_code, message }: Json) => /^[A-Z_]+$/.test(String(error_code)) && message,
  mcp: ({ jsonrpc, error, result }: Json) => {
    const { content, isError } = (result ?? {}) as { content?: { text: string }[]; isError?: boolean }
    return jsonrpc === '2.0' && (isError ? content![0].text : (error as { message?: string })?.message)
  },
}

/** What must not be told: paths, places in code, names of the runtime's errors. */
const inside = /\/src\/|\/tmp\/|node_modules|\.ts\b|\n\s+at |TypeError|RangeError|SyntaxError|undefined|\[object /

interface Sent {
  body?: string | Buffer
  headers?: Record<string, string>
}

/** Sends what is wrong and gives status and message of the refusal, which has the door's own shape. */
async function refused(door: Good['door'], path: string, { body, headers }: Sent, what: string) {
  const response = await fetch(server.url + path, {
    method: 'POST',
    body: body as BodyInit,
    headers: { 'content-type': 'application/json', ...headers },
    signal: AbortSignal.timeout(60_000),
  })
  const text = await response.text()
  const about = `${path}: ${what}: ${response.status} ${text.slice(0, 400)}`
  let told: unknown
  try {
    told = shapes[door](JSON.parse(text) as Json)
  } catch {
    assert.fail(`not the shape of the door's errors: ${about}`)
  }
  assert.ok(typeof told === 'string' && told.length > 10, `not an error of the door: ${about}`)
  assert.ok(!inside.test(told), `tells of the inside: ${about}`)
  if (door !== 'mcp') assert.ok(response.status >= 400 && response.status < 500, about)
  return { status: response.status, told, about }
}

/** A copy of a body with a value put in at `a.0.b`. */
function put(body: Json, place: string, value: unknown): Json {
  const copy = structuredClone(body)
  const keys = place.split('.')
  let at = copy as Record<string, Json>
  for (const key of keys.slice(0, -1)) at = at[key] as Record<string, Json>
  at[keys.at(-1)!] = value as Json
  return copy
}

const wrongBodies: [what: string, sent: Sent, status: number][] = [
  ['no JSON', { body: '{"a":' }, 400],
  ['a number', { body: '5' }, 400],
  ['a list', { body: '[]' }, 400],
  ['null', { body: 'null' }, 400],
  ['nothing', { body: '' }, 400],
  ['another type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 400],
  ['a form without a boundary', { body: 'x', headers: { 'content-type': 'multipart/form-data' } }, 400],
  ['100,000 levels', { body: `${'{"a":'.repeat(30_000)}1${'}'.repeat(30_000)}` }, 400],
  ['over the limit', { body: JSON.stringify({ a: 'x'.repeat(limits.bodyLimit) }) }, 413],
  ['a prototype', { body: '{"__proto__":{"a":1}}' }, 400],
  ['an encoding nobody knows', { body: '{}', headers: { 'content-encoding': 'rot13' } }, 415],
  ['two encodings', { body: '{}', headers: { 'content-encoding': 'gzip, br' } }, 415],
  ['no gzip', { body: '{}', headers: { 'content-encoding': 'gzip' } }, 400],
  ['gzip cut off', { body: gzipSync('{"a":"b"}').subarray(0, -9), headers: { 'content-encoding': 'gzip' } }, 400],
  ['a bomb', { body: gzipSync(Buffer.alloc(1 << 24, ' ')), headers: { 'content-encoding': 'gzip' } }, 413],
]

for (const good of goods) {
  const { door, model, path, body, ranges = {}, text, list } = good
  test(`${door} ${path} (${model}): what is wrong is refused in its own words`, async () => {
    const send = (value: unknown, what: string) => refused(door, path, { body: JSON.stringify(value) }, what)
    const answer = await fetch(server.url + path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
    const said = await answer.text()
    assert.ok(answer.ok && !said.includes('"isError":true'), `the request itself is right: ${said}`)

    const faults: string[] = []
    /** That something is refused with one of these statuses, whatever else is wrong. */
    const check = async (asked: ReturnType<typeof refused>, statuses: readonly number[], part = '') => {
      try {
        const { status, told, about } = await asked
        if ((door !== 'mcp' && !statuses.includes(status)) || !told.includes(part)) faults.push(about)
      } catch (error) {
        faults.push((error as Error).message)
      }
    }
    for (const [what, sent, status] of wrongBodies) await check(refused(door, path, sent, what), [status])
    const wrong = Buffer.from(JSON.stringify(put(body, text ?? 'id', 'a_b')).replaceAll('a_b', 'a\xff\xfeb'), 'latin1')
    await check(refused(door, path, { body: wrong }, 'no UTF-8'), [400])
    await check(send(put(body, text ?? 'id', nest(100)), 'a deep field'), [400])
    const unknown = JSON.stringify(body).replaceAll(`"${model}"`, `"${model}x"`)
    const at = path.replace(`/${model}`, `/${model}x`)
    await check(refused(door, at, { body: unknown }, 'an unknown model'), [404], `Did you mean "${model}"`)
    for (const [place, values] of Object.entries(ranges))
      for (const value of values)
        await check(send(put(body, place, value), `${place} = ${JSON.stringify(value)}`), [400, 422])
    if (text) await check(send(put(body, text, 'long '.repeat(limits.textLimit)), 'a text over the limit'), [400, 413])
    if (list) {
      const many = Array(limits.batchLimit + 1).fill(model === 'vision' ? IMAGE : 'x')
      await check(send(put(body, list, many), 'too many at once'), [400])
    }
    assert.deepEqual(faults, [])
  })
}

const nest = (depth: number): unknown => (depth === 0 ? 1 : [nest(depth - 1)])

test('the binary extension: what is cut off or miscounted', async () => {
  const x = Buffer.from(Float32Array.of(1, 2, 3).buffer)
  const n = Buffer.from(BigInt64Array.of(1n).buffer)
  const sized = (size: unknown) => ({ parameters: { binary_data_size: size } })
  const head = (xSize: unknown, nSize: unknown, more: Json = {}) =>
    JSON.stringify({
      inputs: [
        { name: 'x', datatype: 'FP32', shape: [1, 3], ...sized(xSize), ...more },
        { name: 'n', datatype: 'INT64', shape: [1], ...sized(nSize) },
      ],
    })
  const text = (size: number) =>
    JSON.stringify({ inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], ...sized(size) }] })
  const string = (bytes: Buffer, length = bytes.length) => {
    const before = Buffer.alloc(4)
    before.writeUInt32LE(length)
    return Buffer.concat([before, bytes])
  }
  const right = head(12, 8)
  const cases: [what: string, model: string, head: string, tail: Buffer, length: string | undefined, part: string][] = [
    ['a tail cut off', 'plain', right, Buffer.concat([x, n.subarray(0, 4)]), undefined, 'does not fit'],
    ['bytes too many', 'plain', right, Buffer.concat([x, n, n]), undefined, 'belong to no input'],
    ['no tail', 'plain', right, Buffer.alloc(0), undefined, 'does not fit'],
    ['a size that is not the shape’s', 'plain', head(8, 8), Buffer.concat([x.subarray(4), n]), undefined, '8 bytes'],
    ['a size below zero', 'plain', head(-12, 8), Buffer.concat([x, n]), undefined, 'binary_data_size'],
    ['a size that is no number', 'plain', head('12', 8), Buffer.concat([x, n]), undefined, 'binary_data_size'],
    ['another shape', 'plain', head(12, 8, { shape: [1, 4] }), Buffer.concat([x, n]), undefined, 'asks for 16'],
    ['a length of the head too large', 'plain', right, Buffer.concat([x, n]), '100000', 'content-length'],
    ['a length of the head too small', 'plain', right, Buffer.concat([x, n]), '20', 'not JSON'],
    ['a length below zero', 'plain', right, Buffer.concat([x, n]), '-5', 'content-length'],
    ['a length that is no number', 'plain', right, Buffer.concat([x, n]), 'many', 'content-length'],
    ['a string cut off', 'tiny', text(6), string(Buffer.from('ab'), 9), undefined, 'where 2 are left'],
    ['a length of a string cut off', 'tiny', text(2), Buffer.from('ab'), undefined, 'cut off'],
    [
      'strings too many',
      'tiny',
      text(10),
      Buffer.concat([string(Buffer.from('a')), string(Buffer.from('b'))]),
      undefined,
      'more than',
    ],
    ['no UTF-8', 'tiny', text(6), string(Buffer.from([0xff, 0xfe])), undefined, 'not UTF-8'],
    ['no image', 'vision', text(9).replace('text', 'image'), string(Buffer.from('hello')), undefined, 'image'],
    ['raw, of several inputs', 'plain', '', x, '0', 'one input'],
    ['raw, no UTF-8', 'tiny', '', Buffer.from([0xff]), '0', 'not UTF-8'],
  ]
  for (const [what, model, json, tail, length, part] of cases) {
    const sent = {
      body: Buffer.concat([Buffer.from(json), tail]),
      headers: {
        'content-type': 'application/octet-stream',
        'inference-header-content-length': length ?? String(Buffer.byteLength(json)),
      },
    }
    const { status, told, about } = await refused('oip', `/v2/models/${model}/infer`, sent, what)
    assert.equal(status, 400, about)
    assert.ok(told.toLowerCase().includes(part.toLowerCase()), about)
  }
})

test('files that are none, as bodies and in forms', async () => {
  const form = (content: Buffer | string, end = '\r\n--x--\r\n') =>
    Buffer.concat([
      Buffer.from('--x\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'),
      Buffer.from(content),
      Buffer.from(end),
    ])
  const multipart = { 'content-type': 'multipart/form-data; boundary=x' }
  const image = Buffer.from(IMAGE, 'base64')
  const cases: [what: string, door: Good['door'], path: string, Sent][] = [
    ['no image', 'native', '/api/models/vision/images', { body: 'hello', headers: { 'content-type': 'image/png' } }],
    ['half an image', 'native', '/api/models/vision/images', { body: form(image.subarray(0, 60)), headers: multipart }],
    ['a form cut off', 'native', '/api/models/vision/images', { body: form(image, ''), headers: multipart }],
    ['an empty form', 'native', '/api/models/vision/images', { body: '--x--\r\n', headers: multipart }],
    ['a form of another boundary', 'native', '/api/models/vision/images', { body: '--y--\r\n', headers: multipart }],
    ['no image', 'hf', '/hf/models/vision', { body: 'hello', headers: { 'content-type': 'image/png' } }],
    ['nothing', 'hf', '/hf/models/vision', { body: '', headers: { 'content-type': 'application/octet-stream' } }],
    ['a form cut off', 'openai', '/v1/files', { body: form('x', ''), headers: multipart }],
    ['a form without a purpose', 'openai', '/v1/files', { body: form('x'), headers: multipart }],
    ['a form where none is read', 'openai', '/v1/embeddings', { body: form('x'), headers: multipart }],
    ['a form where none is read', 'tei', '/tei/tiny/predict', { body: form('x'), headers: multipart }],
  ]
  for (const [what, door, path, sent] of cases) {
    const { status, about } = await refused(door, path, sent, what)
    assert.equal(status, 400, about)
  }
})

/** Streams of every door that has some: what is asked, and what the last event of one that broke off is. */
const streams: [path: string, body: Json, last: RegExp][] = [
  ['/api/models/slow/generate', { prompt: 'x', stream: true }, /^event: error\ndata: .*"code":"ENGINE_CRASHED"/],
  ['/v1/chat/completions', { model: 'slow', messages, stream: true }, /^data: \{"error":\{"message":.*"server_error"/],
  ['/v1/completions', { model: 'slow', prompt: 'x', max_tokens: 3000, stream: true }, /^data: \{"error":\{"message":/],
  ['/v1/responses', { model: 'slow', input: 'x', stream: true }, /^event: error\ndata: \{"type":"error"/],
  ['/v2/models/slow/generate_stream', { text_input: 'x', parameters: { max_tokens: 3000 } }, /^data: \{"error":"/],
  ['/hf/models/slow', { inputs: 'x', stream: true, parameters: { max_new_tokens: 3000 } }, /"error_type":"generation"/],
  ['/hf/models/slow/v1/chat/completions', { messages, stream: true }, /^data: \{"error":\{"message":/],
  ['/ollama/api/generate', { model: 'slow', prompt: 'x' }, /^\{"error":"/],
  ['/ollama/api/chat', { model: 'slow', messages }, /^\{"error":"/],
]

test('an engine killed in the middle of streams: the last event of each is an error of its protocol', async () => {
  const begun = await Promise.all(
    streams.map(async ([path, body]) => {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(server.url + path, {
        method: 'POST',
        headers,
        body: JSON.stringify({ ...body, parameters: { maxTokens: 3000, ...(body.parameters as Json | undefined) } }),
        signal: AbortSignal.timeout(60_000),
      })
      assert.equal(response.status, 200, path)
      const reader = response.body!.getReader()
      const { value } = await reader.read()
      return { reader, text: Buffer.from(value!).toString() }
    }),
  )
  const { pid } = (await server.app.house.deployments.list()).find(({ model }) => model === 'slow')!
  process.kill(pid!, 'SIGKILL')
  for (const [i, { reader, text }] of begun.entries()) {
    const [path, , last] = streams[i]
    let all = text
    for (let part = await reader.read(); !part.done; part = await reader.read())
      all += Buffer.from(part.value).toString()
    const events = all.trimEnd().split(path.startsWith('/ollama') ? '\n' : '\n\n')
    assert.ok(events.length > 1, path)
    assert.match(events.at(-1)!, last, path)
    assert.ok(!inside.test(events.at(-1)!), events.at(-1))
    assert.ok(!all.includes('[DONE]'), path)
  }
  const again = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'slow', prompt: 'x', max_tokens: 2 }),
  })
  assert.equal(again.status, 200)
})
