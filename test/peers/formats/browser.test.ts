// What is exported for browsers, in Chromium: the programs beside it, TensorFlow.js and onnxruntime-web. Needs Debian's
// chromium, or ATHANOR_CHROMIUM naming another.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import * as converter from '@tensorflow/tfjs-converter'
import * as core from '@tensorflow/tfjs-core'
import * as layers from '@tensorflow/tfjs-layers'
import { chromium } from 'playwright-core'
import { exportBundle } from '../../../src/formats/export.ts'
import type { Files } from '../../../src/formats/source.ts'
import { askedVersions, difference } from '../../../src/testing/asked.ts'

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
    '@huggingface/tokenizers': '/tokenizers.mjs',
    ...Object.fromEntries(scripts.map(([name], i) => [name, `/module/${i}.js`])),
  },
})}</script>${scripts.map((_, i) => `<script src="/script/${i}.js"></script>`).join('')}`

const files = new Map<string, Uint8Array | string>([['/', page]])
files.set('/tokenizers.mjs', readFileSync(resolve('@huggingface/tokenizers').replace(/\.cjs$/, '.mjs')))
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

const root = mkdtempSync(join(tmpdir(), 'athanor-browser-'))
after(() => rmSync(root, { recursive: true, force: true }))

test('the modules that go with an export answer in Chromium as the server does', { skip }, async (t) => {
  server.listen(0, '127.0.0.1')
  await new Promise((listening) => server.once('listening', listening))
  const origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  const largest: Record<string, number> = {}
  try {
    const tab = await browser.newPage()
    await tab.goto(origin)
    for (const { name, manifest, files: bundle, asked, answers, beyondPython = [] } of await askedVersions(root)) {
      // a canvas makes images smaller by other rules
      const given =
        manifest.task === 'image-classification' ? asked.filter((one) => !beyondPython.includes(one)) : asked
      for (const format of ['onnx', 'tfjs-layers', 'tfjs-graph']) {
        const base = `/${encodeURIComponent(name)}/${format}/`
        const written: Files = await exportBundle(manifest, bundle, format, {}).catch((error: { code?: string }) => {
          assert.equal(error.code, 'UNSUPPORTED', String(error))
          return {}
        })
        if (!written['browser.js']) continue
        for (const [file, content] of Object.entries(written)) files.set(base + file, content)
        const inputs = given.map((one) => (manifest.task === 'image-classification' ? [...readFileSync(one)] : one))
        const found = await tab.evaluate(
          async ([at, all, task]) => {
            const { open } = await import(`${at}browser.js`)
            const ask = await open()
            const results: unknown[] = []
            for (const one of all)
              results.push(
                await ask(
                  task === 'tensor'
                    ? JSON.parse(String(one))
                    : typeof one === 'string'
                      ? one
                      : new Blob([Uint8Array.from(one)]),
                ),
              )
            return results
          },
          [base, inputs, manifest.task] as const,
        )
        given.forEach((one, i) => {
          const apart = difference(found[i], answers[i])
          assert.ok(
            apart <= 1e-5,
            `${base} ${one}: ${JSON.stringify(found[i])}, expected ${JSON.stringify(answers[i])}`,
          )
          largest[format] = Math.max(largest[format] ?? 0, apart)
        })
        t.diagnostic(`${name} as ${format}`)
      }
    }
  } finally {
    await browser.close()
  }
  t.diagnostic(`largest differences: ${JSON.stringify(largest)}`)
})
