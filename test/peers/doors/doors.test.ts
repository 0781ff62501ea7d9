// The doors against the Python clients of their protocols. ATHANOR_PYTHON names a Python that has them; those that it has
// not are skipped (KServe's wants versions of its own: run it with a Python of its own).
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { IMAGE } from '../../../src/doors/hub.ts'
import { startTestServer, type TestServer } from '../../../src/testing/server.ts'
import { tinyClassifier, tinyGraph } from '../../../src/testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../../src/testing/tiny-decoder.ts'
import { tinyEmbedder } from '../../../src/testing/tiny-embedder.ts'
import { tinyEncoderBundle } from '../../../src/testing/tiny-encoder.ts'
import { tinyVision } from '../../../src/testing/tiny-vision.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const has = (modules: string) => spawnSync(python, ['-c', `import ${modules}`], { stdio: 'ignore' }).status === 0
const skipWithout = (modules: string) => (has(modules) ? false : `${python} has no ${modules}; set ATHANOR_PYTHON`)

/** What the script of each client imports. */
const clients = {
  triton: 'tritonclient.http, tritonclient.grpc',
  openai: 'openai',
  huggingface: 'huggingface_hub, numpy',
  ollama: 'ollama',
  scoring: 'requests',
  mlflow: 'pandas, mlflow.pyfunc.scoring_server.client',
  kserve: 'kserve',
}

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
  const vectors = await tinyEmbedder()
  await registry.register('vectors', vectors.manifest, vectors.files)
  const caller = tinyDecoder({ chatTemplate: '{{ messages | length }}', letters: Buffer.from('{') }) // begins a call
  await registry.register('caller', caller.manifest, caller.files)
  const mask = tinyEncoderBundle(['the cat sat on the mat'], { task: 'fill-mask' }, [], '<mask>')
  await registry.register('mask', mask.manifest, mask.files)
  const vision = tinyVision()
  await registry.register('vision', vision.manifest, vision.files)
  const headers = { 'content-type': 'application/octet-stream' }
  const body = tinyGraph() as BodyInit
  await fetch(`${server.url}/api/models/plain/versions`, { method: 'POST', body, headers })
})
after(() => server.close())

for (const [client, modules] of Object.entries(clients)) {
  test(`${client}: its Python client`, { skip: skipWithout(modules) }, async () => {
    const script = fileURLToPath(new URL(`./${client}_client.py`, import.meta.url))
    const expected = { text: tinyContinuation('hello', 12) }
    const given = JSON.stringify({ url: server.url, ports, expected, image: IMAGE })
    const { stdout } = await promisify(execFile)(python, [script, given], { timeout: 300_000 })
    assert.match(stdout, /ok\s*$/)
  })
}

const all = [clients.triton, clients.openai, clients.huggingface, clients.scoring].join(', ')
test('every snippet of Python runs as it stands', { skip: skipWithout(all) }, async () => {
  for (const model of ['tiny', 'writer', 'plain', 'vectors', 'vision', 'mask']) {
    const { snippets } = (await (await fetch(`${server.url}/api/models/${model}/snippets`)).json()) as {
      snippets: { door: string; language: string; code: string }[]
    }
    for (const { door, language, code } of snippets) {
      if (language !== 'python') continue
      const { stdout } = await promisify(execFile)(python, ['-c', code], { timeout: 180_000 })
      assert.ok(stdout.trim().length > 0 && !stdout.includes('error'), `${model}, ${door}: ${stdout}`)
    }
  }
})
