// What is exported for browsers, in Chromium: the programs beside it, TensorFlow.js and onnxruntime-web. Needs Debian's
// chromium, or ATHANOR_CHROMIUM naming another.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import * as converter from '@tensorflow/tfjs-converter'
import * as core from '@tensorflow/tfjs-core'
import * as layers from '@tensorflow/tfjs-layers'
import ort from 'onnxruntime-node'
import { chromium } from 'playwright-core'
import { type PipelineConfig, TextPipeline } from '../../../src/data/pipeline.ts'
import { exportBundle } from '../../../src/formats/export.ts'
import type { Files } from '../../../src/formats/source.ts'
import { writeModel } from '../../../src/graph/codec.ts'
import { madeVariants, type Variant } from '../../../src/testing/variants.ts'

const executablePath = process.env.ATHANOR_CHROMIUM ?? '/usr/bin/chromium'
const skip = existsSync(executablePath) ? false : `there is no ${executablePath}; set ATHANOR_CHROMIUM`
const resolve = createRequire(import.meta.url).resolve
const dist = (name: string) => join(dirname(resolve(`${name}/package.json`)), 'dist')

/** TensorFlow.js comes as scripts that fill `tf`; modules with the same names stand before them for the program's imports. */
const libraries = {
  '@tensorflow/tfjs-core': { script: 'tf-core.min.js', names: Object.keys(core) },
  '@tensorflow/tfjs-backend-cpu': { script: 'tf-backend-cpu.min.js', names: [] },
  '@tensorflow/tfjs-converter': { script: 'tf-converter.min.js', names: Object.keys(converter) },
  '@tensorflow/tfjs-layers': { script: 'tf-layers.min.js', names: Object.keys(layers) },
}
const scripts = Object.entries(libraries)
const exported = (names: string[]) => {
  const plain = names.filter((name) => /^\w+$/.test(name) && name !== 'default')
  return plain.map((name) => `export const ${name} = globalThis.tf.${name}`).join('\n')
}
const page = `<!doctype html><script type="importmap">${JSON.stringify({
  imports: {
    'onnxruntime-web': '/ort/ort.wasm.bundle.min.mjs',
    ...Object.fromEntries(scripts.map(([name], i) => [name, `/module/${i}.js`])),
  },
})}</script>${scripts.map((_, i) => `<script src="/script/${i}.js"></script>`).join('')}`

const files = new Map<string, Uint8Array | string>([['/', page]])
scripts.forEach(([name, library], i) => {
  files.set(`/script/${i}.js`, readFileSync(join(dist(name), library.script)))
  files.set(`/module/${i}.js`, exported(library.names))
})
const types: Record<string, string> = {
  js: 'text/javascript',
  mjs: 'text/javascript',
  wasm: 'application/wasm',
  json: 'application/json',
}
const server = createServer(({ url = '/' }, response) => {
  const ending = url.split('.').at(-1)!
  const found =
    files.get(url) ??
    (url.startsWith('/ort/') ? readFileSync(join(dirname(resolve('onnxruntime-web')), url.slice(5))) : undefined)
  response.writeHead(found === undefined ? 404 : 200, { 'content-type': types[ending] ?? 'text/html' }).end(found)
})
after(() => {
  server.close()
  server.closeAllConnections()
})

async function expected({ manifest, tokenizer, model }: Variant, texts: readonly string[]): Promise<number[][]> {
  const pipeline = TextPipeline.load(manifest.pipeline as unknown as PipelineConfig, tokenizer)
  const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
  const answers: number[][] = []
  for (const row of await pipeline.encode(texts)) {
    const { probabilities } = await session.run({
      ids: new ort.Tensor('int64', BigInt64Array.from(row, BigInt), [1, row.length]),
      lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(row.length)), [1]),
    })
    answers.push(Array.from(probabilities.data as Float32Array))
  }
  return answers
}

test('the programs that go with an export answer in Chromium as the server does', { skip }, async () => {
  const texts = ['W1 sun　w2\tｓｕｎ w9', '今天 rain w7', `${'w3 '.repeat(60)}`]
  server.listen(0, '127.0.0.1')
  await new Promise((listening) => server.once('listening', listening))
  const origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  try {
    const tab = await browser.newPage()
    await tab.goto(origin)
    for (const made of (await madeVariants()).filter(({ name }) => ['lstm', 'textcnn', 'transformer'].includes(name))) {
      const wanted = await expected(made, texts)
      const bundle = { 'model.onnx': writeModel(made.model), 'tokenizer.json': Buffer.from(made.tokenizer) }
      for (const format of ['onnx', 'tfjs-layers', 'tfjs-graph']) {
        if (format === 'tfjs-layers' && made.name === 'transformer') continue // TensorFlow.js has no such layer
        const base = `/${made.name}/${format}/`
        const written: Files = await exportBundle(made.manifest, bundle, format, {})
        for (const [name, content] of Object.entries(written)) files.set(base + name, content)
        const answers = await tab.evaluate(
          async ([at, all]) => {
            const { open } = await import(`${at}browser.js`)
            const classify = await open(new URL(at, location.href).href)
            const found: { label: string; score: number }[][] = []
            for (const text of all) found.push(await classify(text))
            return found
          },
          [base, texts] as const,
        )
        answers.forEach((answer, i) => {
          assert.equal(answer.length, made.manifest.labels.length)
          answer.forEach(({ score }, k) => {
            const difference = Math.abs(score - wanted[i][k])
            assert.ok(difference <= 1e-5, `${base}: ${score}, expected ${wanted[i][k]}`)
          })
        })
      }
    }
  } finally {
    await browser.close()
  }
})
