import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor, type RunSpec } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { placesAt } from './testing/backends.ts'
import { sentences } from './testing/classifiers.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-continued-'))
let app: App
let client: Athanor

before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  const options = {
    tokenizer: 'word',
    width: 16,
    filters: 16,
    dropout: 0,
    epochs: 8,
    learningRate: 0.01,
    maxLength: 24,
  }
  await trained({ name: 'weather', family: 'textcnn', dataset: await dataset(sentences(400)), options })
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

async function dataset(rows: readonly { text: string; label: string }[]): Promise<string> {
  const lines = rows.map(({ text, label }) => `${text},${label}\n`)
  return (await client.datasets.upload('rows.csv', new TextEncoder().encode(`text,label\n${lines.join('')}`))).id
}

async function trained(spec: RunSpec) {
  const { run } = await client.runs.create(spec)
  const losses: number[] = []
  for await (const event of client.runs.events(run)) {
    if (event.type === 'failed') throw event.error
    if (event.type === 'step') losses.push(event.loss)
    if (event.type === 'done')
      return { losses, ref: `${event.model}@${event.version}`, ...(await client.models.show(event.model)) }
  }
  throw new Error('the run did not end')
}

/** The same sentences with words of their own for sun and rain. */
const others = sentences(200, 7).map(({ text, label }) => ({
  text: text.replaceAll('sun', 'w1').replaceAll('rain', 'w2'),
  label,
}))

test('a classifier that was trained here goes on from its weights, with its tokens, sizes and labels', async () => {
  const fresh = sentences(200, 5)
  const options = { epochs: 1, learningRate: 1e-4 }
  const { losses, manifest, ref } = await trained({
    name: 'weather',
    from: 'weather',
    dataset: await dataset(fresh),
    options,
  })
  assert.equal(ref, 'weather@2')
  assert.equal(manifest.lineage.parent, 'weather@1')
  assert.ok(losses[0] < 0.55, `first loss ${losses[0]}: that of new weights is ${Math.log(2)}`)
  assert.ok(manifest.metrics.accuracy > 0.9, `accuracy ${manifest.metrics.accuracy}`)
  const first = (await client.models.show('weather@1')).manifest
  assert.deepEqual(manifest.labels, first.labels)
  assert.deepEqual(manifest.pipeline, first.pipeline)
  assert.equal(manifest.parameters, first.parameters)
  assert.equal(manifest.lineage.options?.filters, 16)
})

test('it learns what the first data did not tell', async () => {
  const before = await client.predictAll(
    'weather@1',
    others.map(({ text }) => text),
  )
  const right = (answers: typeof before) => answers.filter(([{ label }], i) => label === others[i].label).length
  await trained({ name: 'weather', from: 'weather@1', dataset: await dataset(others), options: { epochs: 8 } })
  const after = await client.predictAll(
    'weather',
    others.map(({ text }) => text),
  )
  assert.ok(right(after) > right(before) + 20, `${right(before)}, then ${right(after)} of ${others.length} right`)
})

test('what cannot go on is refused, saying why', async () => {
  const data = await dataset(sentences(40, 3))
  const refused = (spec: Partial<RunSpec>, code: string, message: RegExp) =>
    assert.rejects(trained({ from: 'weather@1', dataset: data, name: 'refused', ...spec }), { code, message })
  await refused({ options: { filters: 32 } }, 'OPTION_INVALID', /filters.*stays 16/)
  await refused({ options: { tokenizer: 'character' } }, 'OPTION_INVALID', /tokenizer.*stays word/)
  await refused({ family: 'lstm' }, 'UNSUPPORTED', /of the family textcnn, further as lstm/)
  await refused({ folds: 3 }, 'OPTION_INVALID', /folds/)
  await refused(
    { dataset: await dataset(sentences(40).map((row) => ({ ...row, label: `very ${row.label}` }))) },
    'LABEL_UNKNOWN',
    /very/,
  )
  await assert.rejects(client.models.show('refused'), { code: 'MODEL_NOT_FOUND' })
})
