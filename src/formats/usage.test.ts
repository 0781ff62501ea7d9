import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ort from 'onnxruntime-node'
import type { PipelineConfig } from '../data/pipeline.ts'
import { TextPipeline } from '../data/pipeline.ts'
import { writeModel } from '../graph/codec.ts'
import { madeVariants } from '../testing/variants.ts'
import { exportBundle } from './export.ts'

// below the project, so that the programs find their libraries
const root = mkdtempSync(join(fileURLToPath(new URL('../../node_modules/', import.meta.url)), '.athanor-usage-'))
after(() => rmSync(root, { recursive: true, force: true }))
const [lstm, , , , rnn] = await madeVariants()

type Answers = { label: string; score: number }[]

async function expected(texts: string[]): Promise<number[][]> {
  const pipeline = TextPipeline.load(lstm.manifest.pipeline as unknown as PipelineConfig, lstm.tokenizer)
  const session = await ort.InferenceSession.create(writeModel(lstm.model), { logSeverityLevel: 3 })
  const rows: number[][] = []
  for (const row of await pipeline.encode(texts)) {
    const { probabilities } = await session.run({
      ids: new ort.Tensor('int64', BigInt64Array.from(row, BigInt), [1, row.length]),
      lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(row.length)), [1]),
    })
    rows.push(Array.from(probabilities.data as Float32Array))
  }
  return rows
}

const texts = ['W1 sun　w2\tｓｕｎ w9', '今天 rain w7', '', `${'w3 '.repeat(60)}`]
const near = (answers: Answers[], wanted: number[][]) =>
  answers.forEach((answer, i) => {
    answer.forEach(({ label, score }, k) => {
      assert.equal(label, lstm.manifest.labels[k])
      assert.ok(Math.abs(score - wanted[i][k]) <= 1e-5, `${texts[i]}: ${score}, expected ${wanted[i][k]}`)
    })
  })

async function exported(format: string): Promise<string> {
  const files = { 'model.onnx': writeModel(lstm.model), 'tokenizer.json': Buffer.from(lstm.tokenizer) }
  const folder = join(root, format)
  mkdirSync(folder)
  for (const [name, content] of Object.entries(await exportBundle(lstm.manifest, files, format, {})))
    writeFileSync(join(folder, name), content)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  return folder
}

test('the programs that go with an export answer as the server does', async () => {
  const wanted = await expected(texts)
  const onnx = await exported('onnx')
  // type stripping is not for files below node_modules: the annotations are taken out here
  const plain = readFileSync(join(onnx, 'usage.ts'), 'utf8').replaceAll(/: (string|number)(?=[,)])/g, '')
  writeFileSync(join(onnx, 'usage.mjs'), plain)
  const { classify } = (await import(pathToFileURL(join(onnx, 'usage.mjs')).href)) as {
    classify(text: string): Promise<Answers>
  }
  near(await Promise.all(texts.map(classify)), wanted)

  const tfjs = await exported('tfjs-layers')
  const graph = await exported('tfjs-graph')
  const server = createServer((request, response) => {
    response.end(readFileSync(join(root, request.url!)))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  try {
    const { port } = server.address() as { port: number }
    for (const [name, folder] of [
      ['onnx', onnx],
      ['tfjs-layers', tfjs],
      ['tfjs-graph', graph],
    ]) {
      const { open } = (await import(pathToFileURL(join(folder, 'browser.js')).href)) as {
        open(base: string): Promise<(text: string) => Promise<Answers>>
      }
      const ask = await open(`http://127.0.0.1:${port}/${name}/`)
      const answers: Answers[] = []
      for (const text of texts) answers.push(await ask(text))
      near(answers, wanted)
    }
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

test('each program is short', async () => {
  for (const format of ['onnx', 'keras', 'keras-h5', 'savedmodel', 'tfjs-layers', 'tfjs-graph']) {
    const files = { 'model.onnx': writeModel(rnn.model), 'tokenizer.json': Buffer.from(rnn.tokenizer) }
    const written = await exportBundle(rnn.manifest, files, format, {})
    const programs = Object.keys(written).filter((name) => /usage|browser/.test(name))
    assert.ok(programs.length > 0, format)
    for (const name of programs) {
      const lines = new TextDecoder()
        .decode(written[name])
        .split('\n')
        .filter((line) => line.trim() !== '')
      assert.ok(lines.length <= 36, `${format}/${name} has ${lines.length} lines`)
    }
  }
})
