import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { readFolder } from '../formats/huggingface/folder.ts'
import { writeFolder } from '../formats/huggingface/write.ts'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier } from '../testing/tiny.ts'
import { tinyReranker, tinyRerankerBundle } from '../testing/tiny-reranker.ts'

const layouts = ['bert', 'roberta'] as const
type Golden = { pairs: [string, string][] } & Record<(typeof layouts)[number], number[]>
const golden = JSON.parse(readFileSync(new URL('pairs.golden.json', import.meta.url), 'utf8')) as Golden
const { pairs } = golden
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

let server: TestServer
before(async () => {
  server = await startTestServer({})
  const { registry } = server.app.house
  for (const layout of layouts) {
    const { manifest, files } = tinyRerankerBundle(layout)
    await registry.register(layout, manifest, files)
  }
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', manifest, files)
})
after(() => server?.close())

async function post<Answer>(path: string, body: unknown, status = 200): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await response.text()
  assert.equal(response.status, status, text)
  return JSON.parse(text) as Answer
}
function near(a: readonly number[], b: readonly number[]) {
  assert.equal(a.length, b.length)
  for (const [i, value] of a.entries()) assert.ok(Math.abs(value - b[i]) < 2e-5, `${value} and ${b[i]}`)
}

for (const layout of layouts) {
  test(`${layout}: pairs are scored as transformers does, those that are cut included`, async () => {
    for (const [i, [query, text]] of pairs.entries()) {
      const body = { query, texts: [text], raw_scores: true }
      const [{ score }] = await post<{ score: number }[]>(`/tei/${layout}/rerank`, body)
      near([score], [golden[layout][i]])
    }
    const wanted = golden[layout].map(sigmoid)
    const [text_1, text_2] = [0, 1].map((side) => pairs.map((pair) => pair[side]))
    const scored = await post<{ data: { score: number }[]; usage: { total_tokens: number } }>('/v1/score', {
      model: layout,
      text_1,
      text_2,
    })
    near(
      scored.data.map(({ score }) => score),
      wanted,
    )
    assert.ok(scored.usage.total_tokens > 0 && scored.usage.total_tokens <= 16 * pairs.length)
    const classified = await post<{ score: number }[][]>(`/tei/${layout}/predict`, { inputs: pairs })
    near(
      classified.map(([{ score }]) => score),
      wanted,
    )
    const inputs = pairs.map(([text, text_pair]) => ({ text, text_pair }))
    const native = await post<{ outputs: { score: number }[][] }>(`/api/models/${layout}/predict`, { inputs })
    near(
      native.outputs.map(([{ score }]) => score),
      wanted,
    )
  })

  test(`${layout}: a folder that is written comes back the same`, async () => {
    const encoder = tinyReranker(layout)
    const folder = new Map([...writeFolder(encoder)].map(([name, content]) => [name, async () => Buffer.from(content)]))
    const { head, weights, maxLength } = await readFolder(folder)
    assert.deepEqual({ head, weights, maxLength }, { head: encoder.head, weights: encoder.weights, maxLength: 16 })
  })
}

test('rerank puts the best document first', async () => {
  const documents = pairs.map(([, text]) => text)
  const { results } = await post<{ results: { index: number; relevance_score: number }[] }>('/v1/rerank', {
    model: 'bert',
    query: 'the fox',
    documents,
  })
  const scores = results.map(({ relevance_score: score }) => score)
  assert.deepEqual(
    scores,
    scores.toSorted((a, b) => b - a),
  )
  assert.deepEqual(results.map(({ index }) => index).toSorted(), [...documents.keys()])
})

test('TEI tells a reranker', async () => {
  const response = await fetch(`${server.url}/tei/bert/info`)
  const { model_type: type } = (await response.json()) as { model_type: object }
  assert.deepEqual(Object.keys(type), ['reranker'])
})

test('single texts for a model of pairs, pairs for another, and both at once are refused with the next step', async () => {
  const single = await post<{ detail: string }>('/api/models/bert/predict', { inputs: 'the fox' }, 400)
  assert.match(JSON.stringify(single), /scores pairs of texts.*rerank and score/)
  const paired = { inputs: [{ text: 'the fox', text_pair: 'a dog' }] }
  assert.match(JSON.stringify(await post('/api/models/tiny/predict', paired, 400)), /takes single texts, not pairs/)
  const tei = await post<{ error: string; error_type: string }>('/tei/tiny/predict', { inputs: [['a', 'b']] }, 400)
  assert.match(tei.error, /takes single texts/)
  const mixed = await post<{ error: string }>('/tei/bert/predict', { inputs: [['a', 'b'], 'c'] }, 400)
  assert.match(mixed.error, /not both/)
  await post('/v1/rerank', { model: 'tiny', query: 'a', documents: ['b'] }, 400)
})
