import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { askedVersions, difference, putExport } from '../../testing/asked.ts'

// below the project, so that the programs find their libraries
const root = mkdtempSync(join(fileURLToPath(new URL('../../../node_modules/', import.meta.url)), '.athanor-usage-'))
after(() => rmSync(root, { recursive: true, force: true }))
const versions = await askedVersions(root)
const formats = [
  'onnx',
  'keras',
  'keras-h5',
  'savedmodel',
  'tflite',
  'tfjs-layers',
  'tfjs-graph',
  'huggingface',
  'gguf',
]

type Ask = (asked: unknown) => Promise<unknown>
const near = (found: unknown, expected: unknown, what: string) => {
  const apart = difference(found, expected)
  assert.ok(apart <= 1e-5, `${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}, apart ${apart}`)
}

for (const version of versions) {
  const { name, manifest, asked, answers } = version
  const folder = join(root, name)
  mkdirSync(folder)

  test(`${name}: the program for Node answers as the server does`, async () => {
    const into = join(folder, 'onnx')
    await putExport(into, version, 'onnx')
    writeFileSync(join(into, 'package.json'), '{"type":"module"}')
    // type stripping is not for files below node_modules
    writeFileSync(join(into, 'usage.mjs'), stripTypeScriptTypes(readFileSync(join(into, 'usage.ts'), 'utf8')))
    const [ask] = Object.values((await import(pathToFileURL(join(into, 'usage.mjs')).href)) as Record<string, Ask>)
    for (const [i, one] of asked.entries())
      near(await ask(manifest.task === 'tensor' ? JSON.parse(one) : one), answers[i], `${name}: ${one}`)
  })

  test(`${name}: the module for browsers answers as the server does`, async () => {
    if (manifest.task === 'image-classification') return // has a canvas in browsers alone: test/peers/formats/browser.test.ts
    const server = createServer((request, response) => {
      // a connection that waits may be closed just as it is used again
      response.setHeader('connection', 'close').end(readFileSync(join(folder, decodeURIComponent(request.url!))))
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const { port } = server.address() as { port: number }
      for (const format of ['onnx', 'tfjs-layers', 'tfjs-graph']) {
        const into = join(folder, format)
        if (!(await putExport(into, version, format))) continue
        writeFileSync(join(into, 'package.json'), '{"type":"module"}')
        const { open } = (await import(pathToFileURL(join(into, 'browser.js')).href)) as {
          open(base: string): Promise<Ask>
        }
        const ask = await open(`http://127.0.0.1:${port}/${format}/`)
        // slow there: one text will do
        const some = format === 'tfjs-graph' && manifest.task === 'text-generation' ? asked.slice(0, 1) : asked
        for (const [i, one] of some.entries())
          near(await ask(manifest.task === 'tensor' ? JSON.parse(one) : one), answers[i], `${name} ${format}: ${one}`)
      }
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })
}

test('every export has a program, and each is short', async () => {
  for (const version of versions) {
    for (const format of formats) {
      const into = join(root, version.name, `short-${format}`)
      if (!(await putExport(into, version, format))) continue
      const programs = readdirSync(into).filter((name) => /^(usage\.(py|ts)|(browser|model)\.js)$/.test(name))
      assert.ok(programs.length > 0, `${version.name} as ${format}`)
      for (const program of programs) {
        const lines = readFileSync(join(into, program), 'utf8').split('\n')
        const count = lines.filter((line) => line.trim() !== '').length
        assert.ok(count <= 30, `${version.name} as ${format}: ${program} has ${count} lines`)
      }
    }
  }
})
