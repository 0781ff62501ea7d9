import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Metrics } from '../../../src/watch/metrics/metrics.ts'
import type { Served } from '../../../src/watch/metrics/served.ts'
import { metricTable } from '../../../src/watch/metrics/table.ts'
import { encodeMetrics, encodeSpans } from '../../../src/watch/otel/encode.ts'
import { genaiMetrics, inferenceSpan } from '../../../src/watch/otel/genai.ts'
import { readMachine } from '../../../src/watch/resources/machine.ts'
import { ownUse } from '../../../src/watch/resources/processes.ts'

// ATHANOR_PROMTOOL names promtool (Debian package prometheus); ATHANOR_PYTHON a Python with opentelemetry-proto.
const promtool = process.env.ATHANOR_PROMTOOL
const python = process.env.ATHANOR_PYTHON
const folder = mkdtempSync(join(tmpdir(), 'athanor-monitoring-'))
after(() => rmSync(folder, { recursive: true }))
const docs = join(import.meta.dirname, '../../../docs/monitoring')

const base = { requestId: 'req_1', door: 'native', version: 1, rows: 1, ms: 40, at: 1_700_000_000_000 }
const answered: Served = {
  ...base,
  model: 'plain',
  task: 'text-classification',
  timings: { queue: 1, pre: 1, run: 2, post: 1, batch: 1 },
}
const usage = { promptTokens: 3, completionTokens: 4 }
const written: Served = {
  ...base,
  model: 'writer',
  task: 'text-generation',
  written: { finish: 'stop', usage, first: 10, gaps: [5, 5, 5] },
}
const metrics = new Metrics()
for (const served of [answered, written, { ...answered, code: 'ENGINE_CRASHED' } as const]) metrics.observe(served)
metrics.asked('writer', 1)
metrics.answeredHttp('POST', '/api/models/:model/predict', 200, 3)
metrics.close()
const samples = {
  engines: [{ model: 'plain', version: 1, waiting: 0, stats: { batches: 1 }, use: ownUse() }],
  activeRuns: 0,
  openAlerts: new Map([['drift', 1]]),
  server: ownUse(),
  machine: readMachine(folder),
}

test('promtool takes the rules, and they say what they should', { skip: !promtool }, () => {
  execFileSync(promtool!, ['check', 'rules', join(docs, 'prometheus-rules.yaml')])
  copyFileSync(join(docs, 'prometheus-rules.yaml'), join(folder, 'prometheus-rules.yaml'))
  copyFileSync(join(import.meta.dirname, 'rules-test.yaml'), join(folder, 'rules-test.yaml'))
  execFileSync(promtool!, ['test', 'rules', 'rules-test.yaml'], { cwd: folder })
})

test('promtool reads a scrape, and has nothing against our names', { skip: !promtool }, () => {
  const { status, stderr } = spawnSync(promtool!, ['check', 'metrics'], {
    input: metrics.text(samples),
    encoding: 'utf8',
  })
  assert.notEqual(status, 1, stderr)
  assert.deepEqual(
    stderr.split('\n').filter((line) => line.startsWith('athanor_')),
    [],
  )
})

test('the messages of OTLP are those of its definition', { skip: !python }, () => {
  const script = `
import json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
given = json.load(sys.stdin)
traces = json_format.ParseDict(given['traces'], ExportTraceServiceRequest())
metrics = json_format.ParseDict(given['metrics'], ExportMetricsServiceRequest())
[span] = traces.resource_spans[0].scope_spans[0].spans
print(json.dumps({
  'name': span.name, 'kind': span.kind, 'start': span.start_time_unix_nano, 'end': span.end_time_unix_nano,
  'status': span.status.code, 'attributes': {a.key: a.value.WhichOneof('value') for a in span.attributes},
  'metrics': {m.name: m.WhichOneof('data') for m in metrics.resource_metrics[0].scope_metrics[0].metrics},
  'tokens': [p.sum for m in metrics.resource_metrics[0].scope_metrics[0].metrics if m.name == 'gen_ai.client.token.usage' for p in m.histogram.data_points],
}))`
  const resource = { 'service.name': 'athanor' }
  const span = {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    parentId: '00f067aa0ba902b7',
    kind: 'server',
    start: 1_700_000_000_000.25,
    end: 1_700_000_000_040.5,
    ...inferenceSpan(written),
    error: 'ENGINE_CRASHED',
  } as const
  const state = metrics.state(samples)
  const all = [...genaiMetrics, ...metricTable].map((metric) => ({
    metric,
    state,
    attributes: { 'athanor.tenant': 'a' },
  }))
  const input = JSON.stringify({
    traces: encodeSpans([span], resource, '1'),
    metrics: encodeMetrics(all, { resource, version: '1', start: 1_700_000_000_000, now: 1_700_000_060_000 }),
  })
  const read = JSON.parse(execFileSync(python!, ['-c', script], { input, encoding: 'utf8' }))
  assert.deepEqual([read.name, read.kind, read.status], ['text_completion writer', 2, 2])
  assert.deepEqual(
    [read.start, read.end].map((ns) => Math.round(ns / 1000)),
    [1_700_000_000_000_250, 1_700_000_000_040_500],
  )
  assert.equal(read.attributes['gen_ai.usage.input_tokens'], 'int_value')
  assert.equal(read.attributes['gen_ai.response.finish_reasons'], 'array_value')
  assert.deepEqual(
    ['gen_ai.server.request.duration', 'athanor_requests_total', 'athanor_host_processors'].map(
      (name) => read.metrics[name],
    ),
    ['histogram', 'sum', 'gauge'],
  )
  assert.deepEqual(read.tokens, [3, 4])
})
