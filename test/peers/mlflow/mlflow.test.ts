// Tracking and registry against MLflow's own client. Needs Python with mlflow, onnx and onnxruntime: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Athanor } from '../../../client/src/index.ts'
import { startTestServer } from '../../../src/testing/server.ts'
import { tinyGraph } from '../../../src/testing/tiny.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import mlflow, onnx, onnxruntime'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no mlflow, onnx and onnxruntime; set ATHANOR_PYTHON`
const scriptOf = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url))
const env = { ...process.env, GIT_PYTHON_REFRESH: 'quiet', MLFLOW_DISABLE_TELEMETRY: 'true' }

test('what MLflow’s client logs, registers and loads', { skip }, async (t) => {
  const server = await startTestServer()
  t.after(() => server.close())
  const model = join(server.app.config.home, 'tiny.onnx')
  writeFileSync(model, tinyGraph())
  const client = new Athanor({ url: server.url })
  await client.models.import('ours', tinyGraph())
  const given = JSON.stringify({ url: server.url, model })
  const { stdout } = await promisify(execFile)(python, [scriptOf('client.py'), given], { timeout: 300_000, env })
  assert.match(stdout, /ok\s*$/)

  // what it registered is served here
  const x = { shape: [1, 3], data: [1, 2, 3] }
  const { outputs } = await client.infer('plain-mlflow@1', { x, n: { shape: [1], data: [7] } })
  assert.deepEqual(outputs.y.data, [9, 11, 13])
  const shown = await client.models.show('plain-mlflow')
  assert.equal(shown.manifest.metrics.accuracy, 0.5)

  // and what was registered here is loaded there
  const load = [
    'import sys, mlflow, mlflow.onnx',
    'mlflow.set_tracking_uri(sys.argv[1])',
    'print(len(mlflow.onnx.load_model("models:/ours/1").graph.node))',
  ].join('\n')
  const loaded = await promisify(execFile)(python, ['-c', load, server.url], { timeout: 120_000, env })
  assert.ok(Number(loaded.stdout.trim()) > 0)
})
