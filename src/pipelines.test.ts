import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Athanor, type Pipeline, type Ranked } from '../client/src/index.ts'
import { startTestServer, type TestServer } from './testing/server.ts'
import { tinyClassifier } from './testing/tiny.ts'

let server: TestServer
let client: Athanor
const texts = ['今天天气', 'brown fox', 'q', 'the lazy dog']

before(async () => {
  server = await startTestServer({ deadline: 200_000 })
  client = new Athanor({ url: server.url, timeout: 200_000 })
  const made = {
    one: {},
    two: { hidden: 12, width: 6 },
    reversed: { hidden: 10, labels: ['c', 'b', 'a'] },
    tongue: { hidden: 9, labels: ['zh', 'en', 'other'] },
  }
  for (const [name, options] of Object.entries(made)) {
    const { manifest, files } = await tinyClassifier(options)
    await server.app.house.registry.register(name, manifest, files)
  }
})
after(() => server.close())

const scores = (rows: Ranked[]) => Object.fromEntries(rows.map(({ label, score }) => [label, score]))
const near = (a: number, b: number) => Math.abs(a - b) < 1e-5

test('an ensemble answers with the mean of its models, by label', async () => {
  const pipeline: Pipeline = {
    nodes: { x: { model: 'one' }, y: { model: 'reversed' }, mean: { average: ['x', 'y'], weights: [3, 1] } },
    output: 'mean',
  }
  const { version } = await client.deployments.compose('both', pipeline)
  assert.equal(version, 1)
  const [said, x, y] = await Promise.all(['both', 'one', 'reversed'].map((name) => client.predictAll(name, texts)))
  for (const [row, ranked] of said.entries()) {
    const [a, b] = [scores(x[row]), scores(y[row])]
    for (const { label, score } of ranked) assert.ok(near(score, (3 * a[label] + b[label]) / 4))
  }
})

test('a label leads each text to its model', async () => {
  const pipeline: Pipeline = {
    nodes: {
      language: { model: 'tongue' },
      chinese: { model: 'one' },
      rest: { model: 'two@1' },
      choice: { route: 'language', cases: { zh: 'chinese', other: 'chinese' }, otherwise: 'rest' },
    },
    output: 'choice',
  }
  await client.deployments.compose('routed', pipeline)
  const [tongues, said, one, two] = await Promise.all(
    ['tongue', 'routed', 'one', 'two'].map((name) => client.predictAll(name, texts)),
  )
  for (const [row, ranked] of said.entries()) {
    const expected = scores((tongues[row][0].label === 'en' ? two : one)[row])
    for (const { label, score } of ranked) assert.ok(near(score, expected[label]))
  }
})

test('behind the doors it is one classifier', async () => {
  const [[{ label }]] = await client.predictAll('both', [texts[1]])
  const post = async (path: string, body: unknown) => {
    const response = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    assert.equal(response.status, 200, path)
    return (await response.json()) as unknown
  }
  const inputs = [{ name: 'text', datatype: 'BYTES', shape: [1], data: [texts[1]] }]
  const oip = (await post('/v2/models/both/infer', { inputs })) as { outputs: { name: string; data: string[] }[] }
  assert.equal(oip.outputs.find(({ name }) => name === 'label')!.data[0], label)
  const { predictions } = (await post('/mlflow/both/invocations', { inputs: [texts[1]] })) as { predictions: unknown }
  assert.match(JSON.stringify(predictions), new RegExp(`"label":"${label}"`))
  const hf = (await post('/hf/models/both', { inputs: texts[1] })) as { label: string }[][]
  assert.equal([hf].flat(2)[0].label, label)
})

test('what cannot be a pipeline is refused with its reason', async () => {
  const refused = (nodes: Pipeline['nodes'], reason: RegExp, output = 'out') =>
    assert.rejects(client.deployments.compose('bad', { nodes, output }), reason)
  await refused({ out: { average: ['a'] }, a: { average: ['out'] } }, /leads to itself: out → a → out/)
  await refused({ out: { model: 'nobody' } }, /no model named "nobody"/)
  await refused({ out: { model: 'both' } }, /is a pipeline itself/)
  await refused({ out: { average: ['a', 'b'] }, a: { model: 'one' }, b: { model: 'tongue' } }, /different labels/)
  await refused({ out: { model: 'one' }, lost: { model: 'two' } }, /nothing leads to "lost"/)
  await refused({ out: { model: 'one' } }, /no node "in"/, 'in')
  const cases = { fr: 'a' }
  await refused(
    { out: { route: 'l', cases, otherwise: 'a' }, l: { model: 'tongue' }, a: { model: 'one' } },
    /no label "fr"/,
  )
  const deep = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`n${i}`, { average: [`n${i + 1}`] }]))
  await refused({ ...deep, n9: { model: 'one' } }, /deeper than 8/, 'n0')
  await assert.rejects(client.models.file('both', 'model.onnx'), /has no file/)
})

test('a model that becomes a pipeline later does not lead into itself', async () => {
  await client.deployments.compose('one', { nodes: { x: { model: 'one@1' } }, output: 'x' })
  await assert.rejects(client.predictAll('both', texts), /a pipeline within a pipeline/)
  await client.deployments.deploy('one', { version: 1 })
  assert.equal((await client.predictAll('both', texts)).length, texts.length)
})
