import type { Metric } from './metrics/readers.ts'
import { metricTable } from './metrics/table.ts'

// What is written for other programs' monitoring: files in docs/monitoring, made by tools/monitoring.ts.

const errorShare = (window: string) =>
  `sum by (model) (rate(athanor_request_errors_total{code=~"INTERNAL|ENGINE_CRASHED|MODEL_NOT_READY|DEADLINE_EXCEEDED"}[${window}])) / (sum by (model) (rate(athanor_requests_total[${window}])) + sum by (model) (rate(athanor_request_errors_total[${window}])))`

const quantile = (q: number, name: string, by = 'model') =>
  `histogram_quantile(${q}, sum by (le, ${by}) (rate(${name}_bucket[5m])))`

interface Rule {
  alert: string
  expr: string
  for?: string
  severity: 'page' | 'ticket'
  summary: string
}

/** The allowed share of failures: an objective of 99.9 %. */
const ALLOWED = 0.001
const burn = (rate: number, long: string, short: string) =>
  `(${errorShare(long)}) > ${+(rate * ALLOWED).toFixed(6)} and (${errorShare(short)}) > ${+(rate * ALLOWED).toFixed(6)}`

/** Alerts for Prometheus; the burn rates are those of Google's SRE Workbook, chapter 5, table 5-8. */
export const prometheusRules: readonly Rule[] = [
  {
    alert: 'AthanorDown',
    expr: 'up{job="athanor"} == 0',
    for: '1m',
    severity: 'page',
    summary: 'The server {{ $labels.instance }} does not answer',
  },
  {
    alert: 'AthanorErrorsFast',
    expr: burn(14.4, '1h', '5m'),
    for: '2m',
    severity: 'page',
    summary: '{{ $labels.model }} fails so often that a month’s allowance is gone in two days',
  },
  {
    alert: 'AthanorErrorsSteady',
    expr: burn(6, '6h', '30m'),
    for: '15m',
    severity: 'page',
    summary: '{{ $labels.model }} fails so often that a month’s allowance is gone in five days',
  },
  {
    alert: 'AthanorErrorsSlow',
    expr: burn(1, '3d', '6h'),
    for: '1h',
    severity: 'ticket',
    summary: '{{ $labels.model }} fails more often than 99.9 % allow',
  },
  {
    alert: 'AthanorSlow',
    expr: `${quantile(0.99, 'athanor_request_duration_seconds')} > 1`,
    for: '10m',
    severity: 'ticket',
    summary: 'One of a hundred answers of {{ $labels.model }} takes over a second',
  },
  {
    alert: 'AthanorEngineCrashes',
    expr: 'increase(athanor_engine_crashes_total[10m]) > 2',
    severity: 'page',
    summary: 'The engine of {{ $labels.model }}@{{ $labels.version }} keeps dying',
  },
  {
    alert: 'AthanorDrift',
    expr: 'athanor_drift_distance > 1.5 * athanor_drift_level',
    for: '1m',
    severity: 'ticket',
    summary:
      'Requests of {{ $labels.model }}@{{ $labels.version }} differ from its held-out rows: {{ $labels.feature }}',
  },
  {
    alert: 'AthanorDiskFull',
    expr: 'athanor_disk_free_bytes / athanor_disk_bytes < 0.05',
    for: '5m',
    severity: 'page',
    summary: 'The data folder’s disk has less than 5 % free',
  },
  {
    alert: 'AthanorMemoryFull',
    expr: 'athanor_cgroup_memory_bytes / athanor_cgroup_memory_limit_bytes > 0.95',
    for: '5m',
    severity: 'ticket',
    summary: 'The control group of the server is close to its limit of memory',
  },
]

/** The rules as Prometheus reads them: YAML, of which JSON strings are part. */
export function rulesFile(): string {
  const lines = ['# Made by tools/monitoring.ts.', 'groups:', '  - name: athanor', '    rules:']
  for (const { alert, expr, for: time, severity, summary } of prometheusRules) {
    lines.push(`      - alert: ${alert}`, `        expr: ${JSON.stringify(expr)}`)
    if (time) lines.push(`        for: ${time}`)
    lines.push(
      '        labels:',
      `          severity: ${severity}`,
      '        annotations:',
      `          summary: ${JSON.stringify(summary)}`,
    )
  }
  return `${lines.join('\n')}\n`
}

interface Panel {
  title: string
  unit: string
  targets: readonly (readonly [expr: string, legend: string])[]
}

/** Panels of the dashboard, row by row. */
export const panels: readonly Panel[] = [
  {
    title: 'Requests',
    unit: 'reqps',
    targets: [['sum by (model) (rate(athanor_requests_total{model=~"$model"}[$__rate_interval]))', '{{model}}']],
  },
  {
    title: 'Failed and refused requests',
    unit: 'reqps',
    targets: [
      [
        'sum by (model, code) (rate(athanor_request_errors_total{model=~"$model"}[$__rate_interval]))',
        '{{model}} {{code}}',
      ],
    ],
  },
  {
    title: 'Latency',
    unit: 's',
    targets: [0.5, 0.99].map((q) => [
      `histogram_quantile(${q}, sum by (le, model) (rate(athanor_request_duration_seconds_bucket{model=~"$model"}[$__rate_interval])))`,
      `{{model}} p${100 * q}`,
    ]),
  },
  {
    title: 'Where the time goes (mean)',
    unit: 's',
    targets: ['queue', 'preprocess', 'run', 'postprocess'].map((stage) => [
      `sum(rate(athanor_${stage}_seconds_sum{model=~"$model"}[$__rate_interval])) / sum(rate(athanor_${stage}_seconds_count{model=~"$model"}[$__rate_interval]))`,
      stage,
    ]),
  },
  {
    title: 'Rows in a batch',
    unit: 'short',
    targets: [
      [
        'sum by (model) (rate(athanor_batch_size_sum{model=~"$model"}[$__rate_interval])) / sum by (model) (rate(athanor_batch_size_count{model=~"$model"}[$__rate_interval]))',
        '{{model}}',
      ],
    ],
  },
  {
    title: 'Waiting requests',
    unit: 'short',
    targets: [['sum by (model, version) (athanor_engine_waiting{model=~"$model"})', '{{model}}@{{version}}']],
  },
  {
    title: 'Tokens',
    unit: 'short',
    targets: [
      ['sum by (model, kind) (rate(athanor_tokens_total{model=~"$model"}[$__rate_interval]))', '{{model}} {{kind}}'],
    ],
  },
  {
    title: 'First token, and between tokens (p99)',
    unit: 's',
    targets: ['first_token', 'between_tokens'].map((what) => [
      `histogram_quantile(0.99, sum by (le, model) (rate(athanor_${what}_seconds_bucket{model=~"$model"}[$__rate_interval])))`,
      `{{model}} ${what.replace('_', ' ')}`,
    ]),
  },
  {
    title: 'Drift: distance over its level',
    unit: 'percentunit',
    targets: [
      ['athanor_drift_distance{model=~"$model"} / athanor_drift_level{model=~"$model"}', '{{model}} {{feature}}'],
    ],
  },
  {
    title: 'Estimated accuracy',
    unit: 'percentunit',
    targets: [['athanor_estimated_accuracy{model=~"$model"}', '{{model}}@{{version}}']],
  },
  {
    title: 'Memory of engines',
    unit: 'bytes',
    targets: [
      ['athanor_engine_resident_memory_bytes{model=~"$model"}', '{{model}}@{{version}}'],
      ['process_resident_memory_bytes{job="athanor"}', 'server'],
    ],
  },
  {
    title: 'Processor time',
    unit: 'percentunit',
    targets: [
      ['rate(athanor_engine_cpu_seconds_total{model=~"$model"}[$__rate_interval])', '{{model}}@{{version}}'],
      ['rate(process_cpu_seconds_total{job="athanor"}[$__rate_interval])', 'server'],
    ],
  },
  {
    title: 'Machine: free memory and disk',
    unit: 'bytes',
    targets: [
      ['athanor_host_memory_available_bytes', 'memory'],
      ['athanor_disk_free_bytes', 'disk'],
    ],
  },
  {
    title: 'GPU',
    unit: 'percentunit',
    targets: [
      ['nv_gpu_utilization', '{{gpu_uuid}} busy'],
      ['nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes', '{{gpu_uuid}} memory'],
    ],
  },
]

/** A dashboard for Grafana 10 and later (schema 38): import the file and choose a Prometheus. */
export function dashboardFile(): string {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana's
  const datasource = { type: 'prometheus', uid: '${datasource}' }
  const [width, height] = [12, 8]
  const dashboard = {
    title: 'Athanor',
    uid: 'athanor',
    tags: ['athanor'],
    schemaVersion: 38,
    version: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Prometheus' },
        {
          name: 'model',
          type: 'query',
          datasource,
          query: 'label_values(athanor_requests_total, model)',
          refresh: 2,
          includeAll: true,
          multi: true,
          allValue: '.*',
          current: { text: 'All', value: '$__all' },
        },
      ],
    },
    panels: panels.map(({ title, unit, targets }, i) => ({
      id: i + 1,
      type: 'timeseries',
      title,
      datasource,
      gridPos: { x: (i % 2) * width, y: Math.floor(i / 2) * height, w: width, h: height },
      fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
      options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi' } },
      targets: targets.map(([expr, legendFormat], t) => ({
        refId: String.fromCharCode(65 + t),
        datasource,
        expr,
        legendFormat,
      })),
    })),
  }
  return `${JSON.stringify(dashboard, null, 2)}\n`
}

/** The list of all metrics, as Markdown. */
export function metricsFile(): string {
  const row = ({ name, kind, help, labels }: Metric) =>
    `| \`${name}\` | ${kind} | ${labels.map((label) => `\`${label}\``).join(' ')} | ${help} |`
  return [
    '# Metrics',
    '',
    'All that `GET /metrics` tells, made by `node tools/monitoring.ts` from the table in `src/watch/metrics`. Times are seconds (microseconds',
    'in `_us`), sizes bytes. How they are counted: [watching](../watching.md).',
    '',
    '| name | kind | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...metricTable.map(row),
    '',
  ].join('\n')
}

/** Files of docs/monitoring by name. */
export const monitoringFiles: Readonly<Record<string, () => string>> = {
  'metrics.md': metricsFile,
  'prometheus-rules.yaml': rulesFile,
  'grafana-dashboard.json': dashboardFile,
}
