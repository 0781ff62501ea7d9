// The OpenAI door against the frameworks that speak its protocol. They are installed from npm into a folder of their own
// (110 MB), or taken from the one that ATHANOR_FRAMEWORKS names; skipped where that cannot be done.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startTestServer, type TestServer } from '../../../src/testing/server.ts'
import { tinyContinuation, tinyDecoder } from '../../../src/testing/tiny-decoder.ts'
import { tinyEmbedder } from '../../../src/testing/tiny-embedder.ts'

const packages = [
  'ai@7',
  '@ai-sdk/openai@4',
  '@ai-sdk/openai-compatible@3',
  '@langchain/core@1',
  '@langchain/openai@1',
  'zod@4',
]
const given = process.env.ATHANOR_FRAMEWORKS
const folder = given ?? mkdtempSync(join(tmpdir(), 'athanor-frameworks-'))

function install(): string | false {
  if (given !== undefined) return false
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}')
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, stderr } = spawnSync('npm', ['install', ...flags, ...packages], { cwd: folder, encoding: 'utf8' })
  return status === 0 ? false : `npm cannot install ${packages.join(' ')}: ${stderr?.slice(0, 200)}`
}
const skip = install()

let server: TestServer
before(async () => {
  server = await startTestServer()
  const { registry } = server.app.house
  const writer = tinyDecoder({ chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}' })
  await registry.register('writer', writer.manifest, writer.files)
  const vectors = await tinyEmbedder()
  await registry.register('vectors', vectors.manifest, vectors.files)
})
after(async () => {
  await server.close()
  if (given === undefined) rmSync(folder, { recursive: true, force: true })
})

for (const name of ['aisdk', 'langchain'])
  test(`${name}: its own client`, { skip }, async () => {
    const script = join(folder, `${name}_client.mjs`) // there its imports are found
    copyFileSync(fileURLToPath(new URL(`./${name}_client.mjs`, import.meta.url)), script)
    const about = JSON.stringify({ url: server.url, expected: { text: tinyContinuation('hello', 12) } })
    const { stdout } = await promisify(execFile)(process.execPath, [script, about], { timeout: 120_000 })
    assert.match(stdout, /ok\s*$/)
  })
