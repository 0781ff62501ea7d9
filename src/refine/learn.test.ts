import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor, type RefineSpec, type TrainEvent } from '../../client/src/index.ts'
import { type App, startApp } from '../app.ts'
import { placesAt } from '../testing/backends.ts'
import { sentences } from '../testing/classifiers.ts'
import { anySpeed } from '../testing/refining.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-learn-'))
let app: App
let client: Athanor
/** Trained models by family: a few seconds for all. */
const families = {
  lstm: { width: 16, hidden: 24, layers: 2, bidirectional: true },
  textcnn: { width: 16, filters: 16 },
  transformer: { width: 16, layers: 3, heads: 4, inner: 32, headSize: 4 },
} as const

before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  const rows = sentences(500).map(({ text, label }) => `${text},${label}\n`)
  const { id } = await client.datasets.upload('rows.csv', new TextEncoder().encode(`text,label\n${rows.join('')}`))
  for (const [family, options] of Object.entries(families)) {
    const more = { epochs: 6, learningRate: 0.005, maxLength: 24, threads: 1, tokenizer: 'word', dropout: 0.1 }
    const { run } = await client.runs.create({ name: family, family, dataset: id, options: { ...options, ...more } })
    for await (const event of client.runs.events(run)) if (event.type === 'failed') throw new Error(event.error.message)
  }
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

async function refined(spec: RefineSpec) {
  const { run } = await client.refine(spec)
  const events: TrainEvent[] = []
  for await (const event of client.runs.events(run)) events.push(event)
  const failed = events.find((event) => event.type === 'failed')
  if (failed) console.log(JSON.stringify((await client.logs({ level: 'error' }))[0]))
  assert.equal(failed?.error.message, undefined)
  const done = events.find((event) => event.type === 'done')!
  const { manifest } = await client.models.show(`${done.model}@${done.version}`)
  const report = events.find((event) => event.type === 'data')?.report as
    | { removed: { counts: { leakage: number } } }
    | undefined
  return {
    data: report,
    manifest,
    gate: events.findLast((event) => event.type === 'gate')!,
    notes: events.flatMap((event) => (event.type === 'pass' ? [event.note] : [])),
  }
}

test('training keeps held-out and training rows in the bundle', async () => {
  const { files, manifest } = await client.models.show('lstm')
  assert.ok(['heldout.jsonl', 'heldin.jsonl'].every((name) => files.some((file) => file.name === name)))
  const rows = new TextDecoder()
    .decode(await client.models.file('lstm', 'heldout.jsonl'))
    .trim()
    .split('\n')
  assert.equal(rows.length, manifest.metrics.rows)
  assert.ok(manifest.metrics.accuracy > 0.9, `accuracy ${manifest.metrics.accuracy}`)
})

for (const [family, expected] of Object.entries({
  lstm: { hidden: 16 },
  textcnn: { filters: 8 },
  transformer: { inner: 16, heads: 2, headSize: 4, layers: 2 },
})) {
  test(`${family}: units that matter least go, matrices become smaller, training goes on`, async () => {
    const before = (await client.models.show(`${family}@1`)).manifest
    const held = new TextDecoder()
      .decode(await client.models.file(`${family}@1`, 'heldout.jsonl'))
      .trim()
      .split('\n')
    const layers: Record<string, number> = family === 'transformer' ? { layers: 1 } : {}
    const { manifest, gate, notes, data } = await refined({
      refine: `${family}@1`,
      passes: [{ name: 'prune', options: { share: family === 'lstm' ? 0.35 : 0.5, ...layers } }],
      options: { epochs: 2, threads: 1 },
      tolerance: `accuracy>=-8pt,${anySpeed}`,
    })
    const options = manifest.lineage.options as Record<string, number>
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, options[name]])), expected)
    assert.ok(manifest.parameters < before.parameters)
    assert.deepEqual(manifest.lineage.refinedFrom, { model: family, version: 1 })
    assert.deepEqual(manifest.lineage.dataset, before.lineage.dataset)
    assert.match(notes[0], /→/)
    assert.equal(data?.removed.counts.leakage, held.length, 'what it is judged by is not trained on')
    assert.equal(gate.rows, before.metrics.rows)
    const [best] = await client.predict(family, 'sun w1 w2 sun w3')
    assert.equal(best.label, 'good')
  })
}

test('a smaller family learns from the version, by its soft answers', async () => {
  const { manifest, notes } = await refined({
    refine: 'transformer@1',
    passes: [{ name: 'distil', options: { family: 'textcnn', made: 1 } }],
    options: { epochs: 6, learningRate: 0.005, width: 8, filters: 8, threads: 1 },
    tolerance: `accuracy>=-8pt,size<=1.5,${anySpeed}`,
    name: 'pupil',
  })
  assert.equal(manifest.family, 'textcnn')
  assert.match(notes[0], /^a textcnn of .* learnt from a transformer of .*, \d{3} made up$/)
  assert.ok(manifest.metrics.accuracy > 0.85, `accuracy ${manifest.metrics.accuracy}`)
})

test('a shallower Transformer learns layer by layer, and serves nothing of what it only learnt by', async () => {
  const how = { options: { epochs: 4, learningRate: 0.005, width: 16, layers: 2, heads: 2, inner: 16, threads: 1 } }
  const { manifest } = await refined({
    refine: 'transformer@1',
    passes: [{ name: 'distil', options: { family: 'transformer', states: 1 } }],
    ...how,
    force: true,
    name: 'shallow',
  })
  assert.equal(manifest.lineage.options?.layers, 2)
  assert.ok(manifest.metrics.accuracy > 0.85, `accuracy ${manifest.metrics.accuracy}`)
  const model = new TextDecoder('latin1').decode(await client.models.file('shallow', 'model.onnx'))
  assert.ok(model.includes('layer.1/attention') && !model.includes('hint/'))
  const { run } = await client.refine({
    refine: 'transformer@1',
    passes: [{ name: 'distil', options: { family: 'textcnn', states: 1 } }],
  })
  const events: TrainEvent[] = []
  for await (const event of client.runs.events(run)) events.push(event)
  assert.equal(events.find((event) => event.type === 'failed')?.error.code, 'OPTION_INVALID')
})

test('int4 after training on while rounded: the float weights themselves lie near what they are rounded to', async () => {
  const { manifest, notes, gate } = await refined({
    refine: 'transformer@1',
    passes: [{ name: 'quantize', options: { scheme: 'int4', block: 16, learned: true, leave: 0 } }],
    options: { epochs: 2, learningRate: 0.002, threads: 1 },
    tolerance: `accuracy>=-8pt,${anySpeed}`,
    name: 'rounded',
  })
  assert.match(notes[0], /trained on while rounded and clipped/)
  assert.equal(manifest.family, 'transformer')
  assert.ok(gate.table.find(({ name }) => name === 'size')!.change < 0.9)
})
