import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readMachine } from '../resources/machine.ts'
import { ownUse } from '../resources/processes.ts'
import { Metrics, type Samples } from './metrics.ts'
import { AllSeries } from './series.ts'
import type { Served } from './served.ts'
import { metricTable } from './table.ts'

const answer = (more: Partial<Served> = {}): Served => ({
  requestId: 'req_1',
  door: 'native',
  model: 'plain',
  version: 1,
  task: 'text-classification',
  rows: 2,
  ms: 4,
  at: Date.now(),
  timings: { queue: 1, pre: 0.5, run: 2, post: 0.25, batch: 4 },
  ...more,
})
const text = (more: Partial<Served> = {}): Served => {
  const { timings: _timings, ...rest } = answer({ model: 'writer', task: 'text-generation', rows: 1, ms: 100 })
  const usage = { promptTokens: 7, completionTokens: 4 }
  return { ...rest, written: { finish: 'length', usage, first: 40, gaps: [10, 20, 30] }, ...more }
}
const samples: Samples = {
  engines: [
    { model: 'plain', version: 1, waiting: 2, stats: { batches: 3 }, use: { rss: 1000, cpuSeconds: 2, threads: 5 } },
    { model: 'plain', version: 1, waiting: 1, stats: { batches: 4 } },
  ],
  activeRuns: 1,
  openAlerts: new Map([['drift', 2]]),
  server: ownUse(),
  machine: readMachine('/'),
}

test('what is counted once is told under our names, Triton’s and vLLM’s', () => {
  const metrics = new Metrics()
  metrics.observe(answer())
  metrics.observe(answer({ door: 'oip', rows: 1 }))
  metrics.observe(answer({ code: 'OVERLOADED' }))
  metrics.observe(text())
  const live = metrics.asked('writer', 1)
  metrics.asked('writer', 1).begun()
  const scrape = metrics.text(samples)
  for (const line of [
    'athanor_requests_total{model="plain",version="1",door="native"} 1',
    'athanor_request_errors_total{model="plain",version="1",door="native",code="OVERLOADED"} 1',
    'athanor_run_seconds_bucket{le="0.001",model="plain",version="1",door="oip"} 0',
    'athanor_run_seconds_bucket{le="0.0025",model="plain",version="1",door="oip"} 1',
    'athanor_engine_waiting{model="plain",version="1"} 3',
    'athanor_alerts_open{rule="drift"} 2',
    'nv_inference_request_success{model="plain",version="1"} 2',
    'nv_inference_request_failure{model="plain",version="1",reason="REJECTED"} 1',
    'nv_inference_count{model="plain",version="1"} 3',
    'nv_inference_exec_count{model="plain",version="1"} 7',
    'nv_inference_request_duration_us{model="plain",version="1"} 8000',
    'nv_inference_queue_duration_us{model="plain",version="1"} 2000',
    'nv_inference_compute_infer_duration_us{model="plain",version="1"} 4000',
    'vllm:num_requests_waiting{model_name="writer",engine="1"} 1',
    'vllm:num_requests_running{model_name="writer",engine="1"} 1',
    'vllm:prompt_tokens_total{model_name="writer",engine="1"} 7',
    'vllm:generation_tokens_total{model_name="writer",engine="1"} 4',
    'vllm:request_success_total{model_name="writer",engine="1",finished_reason="length"} 1',
    'vllm:time_to_first_token_seconds_sum{model_name="writer",engine="1"} 0.04',
    'vllm:inter_token_latency_seconds_count{model_name="writer",engine="1"} 3',
    'vllm:request_time_per_output_token_seconds_sum{model_name="writer",engine="1"} 0.02',
    'vllm:e2e_request_latency_seconds_bucket{le="0.1",model_name="writer",engine="1"} 1',
    'athanor_tokens_total{model="writer",version="1",kind="completion"} 4',
  ])
    assert.ok(scrape.includes(`${line}\n`), `${line}\n\n${scrape}`)
  assert.ok(!scrape.includes('nv_inference_count{model="writer"') && !scrape.includes('model_name="plain"'))
  live.ended()
  live.ended()
  assert.ok(metrics.text(samples).includes('vllm:num_requests_waiting{model_name="writer",engine="1"} 0\n'))
  metrics.close()
})

test('the table names each metric once, by the conventions of Prometheus where the names are ours', () => {
  const names = metricTable.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
  for (const { name, kind, help, labels } of metricTable) {
    assert.match(name, /^[a-z_:][a-z0-9_:]*$/)
    assert.ok(help.length > 0 && !help.includes('\n') && !labels.includes('le'))
    if (name.startsWith('athanor_')) assert.equal(name.endsWith('_total'), kind === 'counter', name)
  }
})

test('callers cannot make up more series than there may be', () => {
  const all = new AllSeries(3)
  for (let i = 0; i < 10; i++) all.add(answer({ model: `m${i}` }))
  const counts = [...all].map(({ model, answered }) => [model, answered])
  assert.deepEqual(counts, [
    ['m0', 1],
    ['m1', 1],
    ['m2', 1],
    ['other', 7],
  ])
})

test('labels are escaped', () => {
  const metrics = new Metrics()
  metrics.answeredHttp('GET', '/a"b\\c', 200, 1)
  assert.match(metrics.text(samples), /route="\/a\\"b\\\\c"/)
  metrics.close()
})
