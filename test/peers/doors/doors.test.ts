// The doors against the Python clients of their protocols. Needs Python with tritonclient[http,grpc], openai,
// huggingface_hub, ollama and requests: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startTestServer, type TestServer } from '../../../src/testing/server.ts'
import { tinyClassifier, tinyGraph } from '../../../src/testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../../src/testing/tiny-decoder.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const wanted = 'import tritonclient.http, tritonclient.grpc, openai, huggingface_hub, ollama, requests'
const there = spawnSync(python, ['-c', wanted], { stdio: 'ignore' }).status === 0
const skip = there
  ? false
  : `${python} has no tritonclient, openai, huggingface_hub, ollama and requests; set ATHANOR_PYTHON`

let server: TestServer
const ports: Record<string, number> = {}
before(async () => {
  const all = ['grpc', 'ollama', 'tfserving'].map((name) => ({ name, port: 0 }))
  server = await startTestServer({ doorPorts: [...all, { name: 'mlflow', model: 'tiny', port: 0 }] })
  for (const { name, port } of server.app.doorPorts) ports[name] = port
  const { registry } = server.app.house
  const { manifest, files } = await tinyClassifier()
  await registry.register('tiny', manifest, files)
  const writer = tinyDecoder({ chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}' })
  await registry.register('writer', writer.manifest, writer.files)
  const headers = { 'content-type': 'application/octet-stream' }
  const body = tinyGraph() as BodyInit
  await fetch(`${server.url}/api/models/plain/versions`, { method: 'POST', body, headers })
})
after(() => server.close())

for (const client of ['triton', 'openai', 'huggingface', 'ollama', 'scoring']) {
  test(`${client}: its Python client`, { skip }, async () => {
    const script = fileURLToPath(new URL(`./${client}_client.py`, import.meta.url))
    const expected = { text: tinyContinuation('hello', 12) }
    const given = JSON.stringify({ url: server.url, ports, expected })
    const { stdout } = await promisify(execFile)(python, [script, given], { timeout: 120_000 })
    assert.match(stdout, /ok\s*$/)
  })
}

test('every snippet of Python runs as it stands', { skip }, async () => {
  for (const model of ['tiny', 'writer', 'plain']) {
    const { snippets } = (await (await fetch(`${server.url}/api/models/${model}/snippets`)).json()) as {
      snippets: { door: string; language: string; code: string }[]
    }
    for (const { door, language, code } of snippets) {
      if (language !== 'python') continue
      const { stdout } = await promisify(execFile)(python, ['-c', code], { timeout: 60_000 })
      assert.ok(stdout.trim().length > 0 && !stdout.includes('error'), `${model}, ${door}: ${stdout}`)
    }
  }
})
