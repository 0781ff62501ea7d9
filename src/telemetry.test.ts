import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { Athanor } from '../client/src/index.ts'
import { parseTraceparent } from './base/trace.ts'
import { startTestServer, type TestServer } from './testing/server.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { tinyDecoder } from './testing/tiny-decoder.ts'

interface Attribute {
  key: string
  value: Record<string, unknown>
}
interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: Attribute[]
  status: { code?: number; message?: string }
}
interface Point {
  attributes: Attribute[]
  count?: string
  sum?: number
  asDouble?: number
  bucketCounts?: string[]
  explicitBounds?: number[]
}
interface Data {
  name: string
  unit?: string
  sum?: { dataPoints: Point[]; isMonotonic: boolean; aggregationTemporality: number }
  gauge?: { dataPoints: Point[] }
  histogram?: { dataPoints: Point[]; aggregationTemporality: number }
}

/** A collector: takes what is sent to /v1/traces and /v1/metrics, after being busy once. */
const received = { spans: [] as Span[], metrics: [] as Data[], resources: [] as Attribute[][], refused: 0 }
const collector = createServer(async (request, response) => {
  if (received.refused === 0) {
    received.refused++
    response.writeHead(503, { 'retry-after': '0' }).end()
    return
  }
  assert.equal(request.headers['content-type'], 'application/json')
  assert.equal(request.headers['x-team'], 'a b')
  const body = JSON.parse(gunzipSync(Buffer.concat(await request.toArray())).toString())
  if (request.url === '/v1/traces') {
    for (const { resource, scopeSpans } of body.resourceSpans) {
      received.resources.push(resource.attributes)
      for (const { scope, spans } of scopeSpans) {
        assert.equal(scope.name, 'athanor')
        received.spans.push(...spans)
      }
    }
  } else {
    assert.equal(request.url, '/v1/metrics')
    received.metrics = body.resourceMetrics[0].scopeMetrics[0].metrics
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
})

let server: TestServer
let athanor: Athanor
before(async () => {
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  const { port } = collector.address() as { port: number }
  server = await startTestServer({
    telemetry: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}/`,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-team=a%20b',
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
      OTEL_SERVICE_NAME: 'furnace',
    },
  })
  athanor = new Athanor({ url: server.url })
  const { manifest, files } = await tinyClassifier()
  await server.app.house.registry.register('plain', manifest, files)
  const writer = tinyDecoder()
  await server.app.house.registry.register('writer', writer.manifest, writer.files)
})
after(async () => {
  await server.close()
  collector.close()
})

const attributesOf = ({ attributes }: { attributes: Attribute[] }) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
const nanoseconds = ({ startTimeUnixNano, endTimeUnixNano }: Span) => [
  BigInt(startTimeUnixNano),
  BigInt(endTimeUnixNano),
]

test('a request goes on in the trace of its caller: HTTP, inference, and the stages within', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const response = await fetch(`${server.url}/api/models/plain/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent },
    body: JSON.stringify({ inputs: 'quick fox' }),
  })
  assert.equal(response.status, 200)
  // not sampled by its caller: not sent
  await fetch(`${server.url}/api/models/plain/predict`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      traceparent: traceparent.replace(/01$/, '00').replace('0af', '0bf'),
    },
    body: JSON.stringify({ inputs: 'lazy dog' }),
  })
  await server.app.house.telemetry!.flush()
  assert.equal(received.refused, 1, 'what a busy collector refused came again')
  const spans = received.spans.filter(({ traceId }) => traceId === '0af7651916cd43dd8448eb211c80319c')
  assert.ok(received.spans.every(({ traceId }) => !traceId.startsWith('0bf')))
  const [http] = spans.filter(({ kind }) => kind === 2)
  assert.deepEqual([http.parentSpanId, http.name], ['b7ad6b7169203331', 'POST /api/models/:model/predict'])
  assert.deepEqual(attributesOf(http), {
    'http.request.method': 'POST',
    'http.route': '/api/models/:model/predict',
    'url.path': '/api/models/plain/predict',
    'http.response.status_code': '200',
  })
  const [inference] = spans.filter(({ name }) => name === 'infer plain')
  assert.equal(inference.parentSpanId, http.spanId)
  const stages = spans.filter(({ parentSpanId }) => parentSpanId === inference.spanId)
  assert.deepEqual(stages.map(({ name }) => name).sort(), ['postprocess', 'preprocess', 'queue', 'run'])
  for (const span of spans) {
    assert.match(span.spanId, /^[0-9a-f]{16}$/)
    const [start, end] = nanoseconds(span)
    assert.ok(start <= end)
  }
  const [resource] = received.resources.map((attributes) => attributesOf({ attributes }))
  assert.equal(resource['service.name'], 'furnace')
  assert.equal(resource['deployment.environment.name'], 'test')
})

test('a text that is written has the attributes and metrics of generative AI; a failure says why', async () => {
  await athanor.generate('writer', 'abc', { maxTokens: 5 })
  await assert.rejects(athanor.predict('plain', 'x'.repeat(100_001)), { code: 'TEXT_TOO_LONG' })
  received.spans = []
  await athanor.generate('writer', 'abc', { maxTokens: 5 })
  await server.app.house.telemetry!.flush()
  const text = received.spans.find(({ name }) => name === 'text_completion writer')!
  const attributes = attributesOf(text)
  assert.equal(attributes['gen_ai.operation.name'], 'text_completion')
  assert.equal(attributes['gen_ai.response.model'], 'writer@1')
  assert.deepEqual([attributes['gen_ai.usage.input_tokens'], attributes['gen_ai.usage.output_tokens']], ['3', '5'])
  assert.deepEqual(attributes['gen_ai.response.finish_reasons'], { values: [{ stringValue: 'length' }] })

  const metric = (name: string) => received.metrics.find((one) => one.name === name)!
  const [point] = metric('gen_ai.server.request.duration').histogram!.dataPoints
  assert.deepEqual([point.count, metric('gen_ai.server.request.duration').unit], ['2', 's'])
  assert.equal(point.bucketCounts!.length, point.explicitBounds!.length + 1)
  assert.equal(
    point.bucketCounts!.reduce((sum, count) => sum + Number(count), 0),
    2,
  )
  const usage = metric('gen_ai.client.token.usage').histogram!.dataPoints
  assert.deepEqual(
    usage.map((one) => [attributesOf(one)['gen_ai.token.type'], one.sum]),
    [
      ['input', 6],
      ['output', 10],
    ],
  )
  const requests = metric('athanor_requests_total').sum!
  assert.deepEqual([requests.isMonotonic, requests.aggregationTemporality], [true, 2])
  const plain = requests.dataPoints.find((one) => attributesOf(one).model === 'plain')!
  assert.deepEqual([plain.asDouble, attributesOf(plain)['athanor.tenant']], [2, 'default'])
  assert.ok(metric('athanor_host_processors').gauge!.dataPoints[0].asDouble! >= 1)
})

test('what cannot be done is refused at the start, and nothing is loaded unless asked for', async () => {
  const start = (telemetry: Record<string, string>) => startTestServer({ telemetry })
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://127.0.0.1:4318'
  for (const wrong of [
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'nonsense' },
    { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
    { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER: 'jaeger_remote' },
    { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TIMEOUT: 'soon' },
  ] as Record<string, string>[])
    await assert.rejects(start(wrong), { code: 'OPTION_INVALID' })
  const other = await start({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'true' })
  assert.equal(other.app.house.telemetry, undefined)
  await other.close()
})

test('headers of traces are read as the specification has them', () => {
  const [traceId, parentId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
  assert.deepEqual(parseTraceparent(`00-${traceId}-${parentId}-01`), { traceId, parentId, sampled: true })
  assert.deepEqual(parseTraceparent(`cc-${traceId}-${parentId}-02-more`), { traceId, parentId, sampled: false })
  for (const header of [
    undefined,
    '',
    `00-${traceId}-${parentId}-01-more`,
    `ff-${traceId}-${parentId}-01`,
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
  ])
    assert.equal(parseTraceparent(header), undefined, header)
})
