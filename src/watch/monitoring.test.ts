import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { metricTable } from './metrics/table.ts'
import { monitoringFiles, panels, prometheusRules } from './monitoring.ts'

const folder = new URL('../../docs/monitoring/', import.meta.url)

test('the files of docs/monitoring are those that the table makes: node tools/monitoring.ts', () => {
  for (const [name, make] of Object.entries(monitoringFiles))
    assert.equal(readFileSync(new URL(name, folder), 'utf8'), make(), name)
})

test('dashboard and rules name only metrics of the table, histograms by their parts, with labels that they have', () => {
  const known = new Map(
    metricTable.flatMap(({ name, kind, labels }) =>
      kind === 'histogram'
        ? ['_bucket', '_sum', '_count'].map((end) => [name + end, [...labels, 'le']] as const)
        : [[name, [...labels]] as const],
    ),
  )
  const expressions = [
    ...prometheusRules.map(({ expr }) => expr),
    ...panels.flatMap(({ targets }) => targets.map(([expr]) => expr)),
  ]
  let seen = 0
  for (const expr of expressions) {
    for (const [, name, matchers = ''] of expr.matchAll(
      /\b((?:athanor|process|nv|vllm)[a-z0-9_:]+)(?:\{([^}]*)\})?/g,
    )) {
      if (name === 'athanor') continue // the name of the job
      const labels = known.get(name)
      assert.ok(labels, `${name} in ${expr}`)
      for (const [, label] of matchers.matchAll(/(\w+)=/g)) assert.ok(label === 'job' || labels.includes(label), expr)
      seen++
    }
  }
  assert.ok(seen > 30)
})
