import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Client, credentials, makeGenericClientConstructor, type ServiceError, status } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../../testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../testing/tiny-decoder.ts'

type Json = Record<string, unknown>
const clientOf = (file: string, service: string) => {
  const proto = fileURLToPath(new URL(`../../../tools/proto-inference/${file}`, import.meta.url))
  const loaded = loadSync(proto, { keepCase: true, longs: Number, defaults: true, enums: String })
  return makeGenericClientConstructor(loaded[service] as never, service)
}
const GrpcClient = clientOf('inference.proto', 'inference.GRPCInferenceService')
const HealthClient = clientOf('health.proto', 'grpc.health.v1.Health')

type Methods = Client & Record<string, (...given: unknown[]) => unknown>
let server: TestServer
let client: Methods
before(async () => {
  server = await startTestServer({ doorPorts: [{ name: 'grpc', port: 0 }] })
  const { registry } = server.app.house
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', manifest, files)
  const writer = tinyDecoder()
  await registry.register('writer', writer.manifest, writer.files)
  const slow = tinyDecoder({ slow: 600 })
  await registry.register('slow', slow.manifest, slow.files)
  const onnx = await fetch(`${server.url}/api/models/plain/versions`, {
    method: 'POST',
    body: tinyGraph() as BodyInit,
    headers: { 'content-type': 'application/octet-stream' },
  })
  assert.equal(onnx.status, 201)
  const [{ port }] = server.app.doorPorts
  client = new GrpcClient(`127.0.0.1:${port}`, credentials.createInsecure()) as never
})
after(async () => {
  client.close()
  await server.close()
})

const call = <T = Json>(method: string, request: Json = {}, of = client): Promise<T> =>
  new Promise((resolve, reject) => {
    of[method](request, (error: ServiceError | null, answer: T) => (error ? reject(error) : resolve(answer)))
  })
const refused = async (method: string, request: Json) => {
  const error = await call(method, request).then(
    () => assert.fail('it was not refused'),
    (error: ServiceError) => error,
  )
  return { code: error.code, details: decodeURIComponent(error.details) }
}

test('server, model, metadata, configuration, repository, statistics', async () => {
  assert.deepEqual(await call('ServerLive'), { live: true })
  assert.deepEqual(await call('ServerReady'), { ready: true })
  const { name, extensions } = await call<{ name: string; extensions: string[] }>('ServerMetadata')
  assert.equal(name, 'athanor')
  assert.ok(extensions.includes('binary_tensor_data'))
  assert.deepEqual(await call('ModelReady', { name: 'plain', version: '1' }), { ready: true })
  const metadata = await call<{ inputs: Json[]; versions: string[] }>('ModelMetadata', { name: 'plain' })
  assert.deepEqual(metadata.versions, ['1'])
  assert.deepEqual(metadata.inputs, [
    { name: 'x', datatype: 'FP32', shape: [-1, 3] },
    { name: 'n', datatype: 'INT64', shape: [1] },
  ])
  const { config } = await call<{ config: { input: Json[]; output: Json[] } }>('ModelConfig', { name: 'tiny' })
  assert.deepEqual(config.input, [{ name: 'text', data_type: 'TYPE_STRING', dims: [-1] }])
  assert.deepEqual(config.output[2], { name: 'probabilities', data_type: 'TYPE_FP32', dims: [-1, 3] })
  await call('RepositoryModelLoad', { model_name: 'tiny' })
  const { models } = await call<{ models: Json[] }>('RepositoryIndex', { ready: true })
  assert.deepEqual(models, [{ name: 'tiny', version: '1', state: 'READY', reason: '' }])
  await call('RepositoryModelUnload', { repository_name: 'tiny' }) // as KServe's clients send it
  assert.deepEqual(await call('RepositoryIndex', { ready: true }), { models: [] })
  const [last] = await server.app.house.access.audit.list({ limit: 1 })
  assert.deepEqual([last.action, last.target, last.outcome], ['gRPC RepositoryModelUnload', 'tiny', 'done'])
})

const x = { name: 'x', datatype: 'FP32', shape: [1, 3] }
const n = { name: 'n', datatype: 'INT64', shape: [1] }
interface Inferred {
  model_name: string
  model_version: string
  id: string
  outputs: { name: string; datatype: string; shape: number[]; contents: Record<string, unknown[]> | null }[]
  raw_output_contents: Buffer[]
}

test('tensors in contents and raw', async () => {
  const typed = await call<Inferred>('ModelInfer', {
    model_name: 'plain',
    id: 'q1',
    inputs: [
      { ...x, contents: { fp32_contents: [1, 2, 3] } },
      { ...n, contents: { int64_contents: [7] } },
    ],
  })
  assert.deepEqual([typed.model_name, typed.model_version, typed.id], ['plain', '1', 'q1'])
  const y = typed.outputs.find(({ name }) => name === 'y')
  assert.deepEqual([y?.datatype, y?.shape, y?.contents?.fp32_contents], ['FP32', [1, 3], [9, 11, 13]])

  const raw = await call<Inferred>('ModelInfer', {
    model_name: 'plain',
    model_version: '1',
    inputs: [x, n],
    outputs: [{ name: 'm' }, { name: 'y' }],
    raw_input_contents: [Buffer.from(Float32Array.of(1, 2, 3).buffer), Buffer.from(BigInt64Array.of(2n ** 60n).buffer)],
  })
  assert.deepEqual(
    raw.outputs.map(({ name }) => name),
    ['m', 'y'],
  )
  assert.equal(raw.raw_output_contents[0].readBigInt64LE(), 2n ** 61n, 'no bit is lost')
})

/** grpc-js' numbers of the compressions it knows. */
for (const [name, number] of Object.entries({ deflate: 1, gzip: 2 }))
  test(`requests compressed by ${name}, answers large and small`, async () => {
    const [{ port }] = server.app.doorPorts
    const options = { 'grpc.default_compression_algorithm': number }
    const compressing: Methods = new GrpcClient(`127.0.0.1:${port}`, credentials.createInsecure(), options) as never
    const rows = 1000
    const given = Float32Array.from({ length: rows * 3 }, (_, i) => i)
    const request = {
      model_name: 'plain',
      inputs: [{ ...x, shape: [rows, 3] }, n],
      outputs: [{ name: 'y' }],
      raw_input_contents: [Buffer.from(given.buffer), Buffer.from(BigInt64Array.of(7n).buffer)],
    }
    const {
      raw_output_contents: [y],
    } = await call<Inferred>('ModelInfer', request, compressing)
    assert.deepEqual([y.length, y.readFloatLE(4 * 2999)], [rows * 3 * 4, 2999 * 2 + 7])
    compressing.close()
  })

test('statistics: executions, sizes of batches, and when the last answer was', async () => {
  const before = Date.now()
  const inputs = [
    { ...x, contents: { fp32_contents: [1, 2, 3] } },
    { ...n, contents: { int64_contents: [7] } },
  ]
  const read = async () => {
    const { model_stats } = await call<{ model_stats: Json[] }>('ModelStatistics', { name: 'plain' })
    const rest = await fetch(`${server.url}/v2/models/plain/stats`)
    return { grpc: model_stats[0], rest: ((await rest.json()) as { model_stats: Json[] }).model_stats[0] }
  }
  const { grpc: first } = await read()
  for (let i = 0; i < 3; i++) await call('ModelInfer', { model_name: 'plain', inputs })
  await new Promise((resolve) => setImmediate(resolve)) // requests are counted after they are answered
  const { grpc, rest } = await read()
  assert.equal((grpc.inference_count as number) - (first.inference_count as number), 3)
  assert.equal((grpc.execution_count as number) - (first.execution_count as number), 3)
  assert.ok((grpc.last_inference as number) >= before)
  const [batch, ...more] = grpc.batch_stats as { batch_size: number; compute_infer: { count: number; ns: number } }[]
  assert.deepEqual([batch.batch_size, batch.compute_infer.count, more], [1, grpc.inference_count, []])
  assert.deepEqual(batch.compute_infer, (grpc.inference_stats as Json).compute_infer)
  assert.deepEqual(rest, grpc)
})

test('health, as balancers ask for it: checked, and watched until the server closes', async () => {
  const other = await startTestServer({ doorPorts: [{ name: 'grpc', port: 0 }] })
  const [{ port }] = other.app.doorPorts
  const health: Methods = new HealthClient(`127.0.0.1:${port}`, credentials.createInsecure()) as never
  for (const name of ['', 'inference.GRPCInferenceService'])
    assert.deepEqual(await call('Check', { service: name }, health), { status: 'SERVING' })
  await assert.rejects(call('Check', { service: 'other' }, health), { code: status.NOT_FOUND })
  const watch = (name: string) => health.Watch({ service: name }) as AsyncIterable<Json>
  for await (const told of watch('other')) {
    assert.deepEqual(told, { status: 'SERVICE_UNKNOWN' })
    break
  }
  const told: unknown[] = []
  for await (const one of watch('')) {
    told.push(one.status)
    if (told.length === 1) void other.close()
  }
  assert.deepEqual(told, ['SERVING', 'NOT_SERVING'])
  health.close()
})

test('texts, and the classification extension', async () => {
  const texts = ['the fox', '今天']
  const inputs = [
    {
      name: 'text',
      datatype: 'BYTES',
      shape: [2],
      contents: { bytes_contents: texts.map((text) => Buffer.from(text)) },
    },
  ]
  const { outputs } = await call<Inferred>('ModelInfer', {
    model_name: 'tiny',
    inputs,
    outputs: [{ name: 'label' }, { name: 'probabilities', parameters: { classification: { int64_param: 2 } } }],
  })
  assert.deepEqual(
    outputs.map(({ name, shape }) => [name, shape]),
    [
      ['label', [2]],
      ['probabilities', [2, 2]],
    ],
  )
  const labels = outputs[0].contents?.bytes_contents.map(String)
  const classes = outputs[1].contents?.bytes_contents.map(String)
  assert.ok(
    classes?.every((one) => /^0\.\d+:\d:[abc]$/.test(one)),
    String(classes),
  )
  assert.equal(classes?.[0].split(':')[2], labels?.[0])
  const { model_stats } = await call<{ model_stats: { inference_count: number }[] }>('ModelStatistics', {
    name: 'tiny',
  })
  assert.ok(model_stats[0].inference_count >= 1)
})

test('a stream: token by token from a model that writes, once from others, errors in between', async () => {
  const stream = client.ModelStreamInfer() as ReturnType<Client['makeBidiStreamRequest']>
  const got: { error_message: string; infer_response: Inferred & { parameters: Json } }[] = []
  stream.on('data', (answer) => got.push(answer))
  const ended = new Promise((resolve, reject) => stream.once('end', resolve).once('error', reject))
  const text = (value: string) => ({
    inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from(value)] } }],
  })
  const parameters = { max_tokens: { int64_param: 12 }, temperature: { double_param: 0 } }
  stream.write({ model_name: 'writer', id: '1', ...text('hello'), parameters })
  stream.write({ model_name: 'wirter', id: '2', ...text('hello') })
  stream.write({ model_name: 'tiny', id: '3', ...text('hello') })
  stream.end()
  await ended
  const of = (id: string) => got.filter(({ infer_response }) => infer_response.id === id)
  const written = of('1').map(({ infer_response: { outputs } }) => String(outputs[0].contents?.bytes_contents[0]))
  assert.ok(written.length > 3)
  assert.equal(written.join(''), tinyContinuation('hello', 12))
  assert.match(of('2')[0].error_message, /Did you mean "writer"/)
  assert.equal(of('3')[0].error_message, '')
})

test('an engine killed in the middle of a stream is an answer of it, and the stream goes on', async () => {
  const stream = client.ModelStreamInfer() as ReturnType<Client['makeBidiStreamRequest']>
  const got: { error_message: string; infer_response: Inferred }[] = []
  const ended = new Promise((resolve, reject) => stream.once('end', resolve).once('error', reject))
  const begun = new Promise<void>((resolve) => {
    stream.on('data', (answer) => {
      got.push(answer)
      resolve()
    })
  })
  const text = { name: 'text', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from('x')] } }
  stream.write({ model_name: 'slow', id: '1', inputs: [text], parameters: { max_tokens: { int64_param: 3000 } } })
  await begun
  const { pid } = (await server.app.house.deployments.list()).find(({ model }) => model === 'slow')!
  process.kill(pid!, 'SIGKILL')
  stream.write({ model_name: 'tiny', id: '2', inputs: [text] })
  stream.end()
  await ended
  const errors = got.filter(({ error_message }) => error_message !== '')
  assert.deepEqual(
    errors.map(({ infer_response: { id }, error_message }) => [id, /ended while it worked/.test(error_message)]),
    [['1', true]],
  )
  assert.equal(got.at(-1)?.infer_response.id, '2')
})

test('what a caller does wrong has its gRPC code and says where', async () => {
  const infer = (request: Json) => refused('ModelInfer', { model_name: 'plain', ...request })
  const good = [
    { ...x, contents: { fp32_contents: [1, 2, 3] } },
    { ...n, contents: { int64_contents: [7] } },
  ]
  const text = { model_name: 'tiny' }
  const string = { name: 'text', datatype: 'BYTES', shape: [1] }
  const bad = Buffer.from([0xff, 0xfe])
  const cases: [Json, number, string][] = [
    [{ model_name: 'plian', inputs: good }, status.NOT_FOUND, 'Did you mean "plain"'],
    [{ model_version: '9', inputs: good }, status.NOT_FOUND, 'no version'],
    [{ inputs: [good[0]] }, status.INVALID_ARGUMENT, '"n" is missing'],
    [{ inputs: [...good, good[0]] }, status.INVALID_ARGUMENT, 'two of one name'],
    [{ inputs: [{ ...good[0], datatype: 'FP99' }, good[1]] }, status.INVALID_ARGUMENT, 'FP99'],
    [{ inputs: [{ ...good[0], shape: [2, 3] }, good[1]] }, status.INVALID_ARGUMENT, 'expected 6 elements'],
    [{ inputs: [{ ...good[0], shape: [-1, 3] }, good[1]] }, status.INVALID_ARGUMENT, 'not a shape'],
    [{ inputs: [{ ...good[0], shape: [2 ** 40, 2 ** 40] }, good[1]] }, status.INVALID_ARGUMENT, 'not a shape'],
    [{ inputs: good, raw_input_contents: [Buffer.alloc(12)] }, status.INVALID_ARGUMENT, 'raw_input_contents'],
    [{ inputs: [x, n], raw_input_contents: [Buffer.alloc(11), Buffer.alloc(8)] }, status.INVALID_ARGUMENT, '11 bytes'],
    [{ inputs: good, outputs: [{ name: 'zz' }] }, status.INVALID_ARGUMENT, 'no output "zz"'],
    [{ inputs: [good[0], { ...n, datatype: 'FP16' }] }, status.INVALID_ARGUMENT, 'raw_input_contents'],
    [{ inputs: [{ ...good[0], contents: { fp32_contents: [1, 2] } }, good[1]] }, status.INVALID_ARGUMENT, 'got 2'],
    [
      {
        inputs: [
          { ...n, name: 'x', datatype: 'INT8', shape: [1, 3], contents: { int_contents: [1, 2, 300] } },
          good[1],
        ],
      },
      status.INVALID_ARGUMENT,
      '300 does not fit int8',
    ],
    [{ ...text, inputs: [{ ...string, contents: { bytes_contents: [bad] } }] }, status.INVALID_ARGUMENT, 'not UTF-8'],
    [{ ...text, inputs: [string], raw_input_contents: [bad] }, status.INVALID_ARGUMENT, 'cut off'],
    [
      { ...text, inputs: [string], raw_input_contents: [Buffer.from([9, 0, 0, 0, 65])] },
      status.INVALID_ARGUMENT,
      'where 1 are left',
    ],
    [
      { inputs: [x, n], raw_input_contents: [Buffer.alloc(17 << 20), Buffer.alloc(8)] },
      status.RESOURCE_EXHAUSTED,
      'larger than',
    ],
    [{ model_name: 'tiny', inputs: good }, status.INVALID_ARGUMENT, 'expected "text"'],
  ]
  for (const [request, code, part] of cases) {
    const error = await infer(request)
    assert.equal(error.code, code, error.details)
    assert.ok(error.details.includes(part), error.details)
  }
  assert.equal((await refused('ModelReady', { name: 'none' })).code, status.NOT_FOUND)
  const parameters = { config: { string_param: '{}' } }
  assert.equal((await refused('RepositoryModelLoad', { model_name: 'tiny', parameters })).code, status.UNIMPLEMENTED)
})
