import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { InferenceClient } from '@huggingface/inference'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { startTestServer, type TestServer } from '../testing/server.ts'
import { tinyClassifier } from '../testing/tiny.ts'
import { tinyEmbedder } from '../testing/tiny-embedder.ts'

const texts = ['the fox', '今天', 'a lazy dog jumps']
let server: TestServer
let openai: OpenAI
let vectors: number[][]
before(async () => {
  server = await startTestServer({ doorPorts: [{ name: 'ollama', port: 0 }] })
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const { registry } = server.app.house
  const embedder = await tinyEmbedder()
  await registry.register('vectors', embedder.manifest, embedder.files)
  vectors = await Promise.all(texts.map(embedder.embed))
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', manifest, files)
})
after(() => server?.close())

const post = async (path: string, body: unknown) => {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, body: (await response.json()) as unknown }
}
const near = (a: readonly number[], b: readonly number[]) => {
  assert.equal(a.length, b.length)
  for (const [i, value] of a.entries()) assert.ok(Math.abs(value - b[i]) < 1e-5, `${value} and ${b[i]}`)
}
const unit = (vector: readonly number[]) => vector.map((value) => value / Math.hypot(...vector))
const cosine = (a: readonly number[], b: readonly number[]) =>
  unit(a).reduce((sum, value, i) => sum + value * unit(b)[i], 0)

test('OpenAI: vectors as numbers and as base64, whole and cut', async () => {
  for (const encoding_format of [undefined, 'float', 'base64'] as const) {
    const { data } = await openai.embeddings.create({
      model: 'vectors',
      input: texts,
      ...(encoding_format && { encoding_format }),
    })
    data.forEach(({ index, embedding }, i) => {
      assert.equal(index, i)
      const bytes = Buffer.from(embedding as unknown as string, 'base64')
      near(
        encoding_format === 'base64' && typeof embedding === 'string'
          ? Array.from(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4))
          : embedding,
        vectors[i],
      )
    })
  }
  const { data } = await openai.embeddings.create({ model: 'vectors', input: texts[0], dimensions: 3 })
  near(data[0].embedding, unit(vectors[0].slice(0, 3)))
  for (const [body, param] of [
    [{ dimensions: 9 }, 'dimensions'],
    [{ dimensions: 0 }, 'dimensions'],
    [{ input: [] }, 'input'],
    [{ input: [1, 'x'] }, 'input'],
    [{ input: [[]] }, 'input.0'],
    [{ input: [1, -1] }, 'input.1'],
    [{ input: [1, 100_000] }, null],
    [{ model: 'tiny' }, 'model'],
    [{ encoding_format: 'hex' }, 'encoding_format'],
  ] as const) {
    await assert.rejects(
      openai.embeddings.create({ model: 'vectors', input: 'x', ...(body as object) }),
      (error: InstanceType<typeof OpenAI.APIError>) => error.status === 400 && error.param === param,
    )
  }
})

test('OpenAI: texts as token ids of the model’s own', async () => {
  const { manifest, files } = await tinyEmbedder()
  const pipeline = TextPipeline.load(manifest.pipeline as unknown as PipelineConfig, String(files['tokenizer.json']))
  const ids = (await pipeline.encode(texts)).map((one) => [...one])
  const many = await openai.embeddings.create({ model: 'vectors', input: ids })
  for (const [i, { embedding }] of many.data.entries()) near(embedding, vectors[i])
  const one = await openai.embeddings.create({ model: 'vectors', input: ids[1] })
  assert.deepEqual([one.data.length, one.usage.prompt_tokens], [1, ids[1].length])
  near(one.data[0].embedding, vectors[1])
  const cut = await openai.embeddings.create({ model: 'vectors', input: Array(100).fill(ids[0][0]) })
  assert.equal(cut.usage.prompt_tokens, 64, 'cut as texts are')
})

test('vLLM’s and TEI’s routes: rerank, score, embed, similarity', async () => {
  const scores = vectors.slice(1).map((vector) => cosine(vectors[0], vector))
  const order = scores.map((score, index) => ({ index, score })).sort((a, b) => b.score - a.score)
  const documents = texts.slice(1)
  const ranked = (await post('/v1/rerank', { model: 'vectors', query: texts[0], documents, top_n: 1 })).body as {
    results: { index: number; relevance_score: number; document: { text: string } }[]
  }
  assert.deepEqual([ranked.results.length, ranked.results[0].index], [1, order[0].index])
  near([ranked.results[0].relevance_score], [order[0].score])
  assert.equal(ranked.results[0].document.text, documents[order[0].index])
  const scored = (await post('/score', { model: 'vectors', text_1: texts[0], text_2: documents })).body as {
    data: { score: number }[]
  }
  near(
    scored.data.map(({ score }) => score),
    scores,
  )
  assert.equal((await post('/score', { model: 'vectors', text_1: texts, text_2: documents })).status, 400)

  const embedded = (await post('/tei/vectors/embed', { inputs: texts })).body as number[][]
  for (const [i, vector] of embedded.entries()) near(vector, unit(vectors[i]))
  const raw = (await post('/tei/vectors/embed', { inputs: texts[0], normalize: false })).body as number[][]
  near(raw[0], vectors[0])
  const tei = (await post('/tei/vectors/rerank', { query: texts[0], texts: documents, return_text: true })).body
  near(
    (tei as typeof order).map(({ score }) => score),
    order.map(({ score }) => score),
  )
  const inputs = { source_sentence: texts[0], sentences: documents }
  near((await post('/tei/vectors/similarity', { inputs })).body as number[], scores)
  assert.equal((await post('/tei/vectors/rerank', { query: 5, texts: documents })).status, 400)
})

test('Hugging Face, Ollama and the Open Inference Protocol', async () => {
  const hf = new InferenceClient('none').endpoint(`${server.url}/hf/models/vectors`)
  near((await hf.featureExtraction({ inputs: texts[0] })) as number[], vectors[0])
  const alike = await hf.sentenceSimilarity({
    inputs: { source_sentence: texts[0], sentences: texts.slice(1) },
  } as never)
  near(
    alike,
    vectors.slice(1).map((vector) => cosine(vectors[0], vector)),
  )
  const ollama = new Ollama({ host: `http://127.0.0.1:${server.app.doorPorts[0].port}` })
  const { embeddings, prompt_eval_count: read } = (await ollama.embed({ model: 'vectors', input: texts })) as {
    embeddings: number[][]
    prompt_eval_count?: number
  }
  const { usage } = await openai.embeddings.create({ model: 'vectors', input: texts })
  assert.deepEqual([read, usage.total_tokens > 0], [usage.total_tokens, true])
  for (const [i, vector] of embeddings.entries()) near(vector, unit(vectors[i]))
  near((await ollama.embeddings({ model: 'vectors', prompt: texts[0] })).embedding, vectors[0])
  const text = { name: 'text', datatype: 'BYTES', shape: [1], data: [texts[0]] }
  const { outputs } = (await post('/v2/models/vectors/infer', { inputs: [text] })).body as {
    outputs: { name: string; shape: number[]; data: number[] }[]
  }
  assert.deepEqual([outputs[0].name, outputs[0].shape], ['embeddings', [1, 8]])
  near(outputs[0].data, vectors[0])
})
