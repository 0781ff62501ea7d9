import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { Athanor, type AthanorError, type RunSpec } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { GraphBuilder } from './graph/builder.ts'
import { writeModel } from './graph/codec.ts'
import * as o from './graph/ops.ts'
import { float32 } from './graph/tensor.ts'
import { placesAt } from './testing/backends.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-imported-'))
const home = join(root, 'home')
const bin = fileURLToPath(new URL('../bin/athanor.js', import.meta.url))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
})
after(async () => {
  await app.close()
  rmSync(root, { recursive: true, force: true })
})

interface Failed {
  code: string
  message: string
  hint: string
}
async function athanor<T>(...args: string[]): Promise<T> {
  const env = { ...process.env, ATHANOR_HOME: home, CI: '1' }
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args, '--json'], { env })
  return JSON.parse(stdout) as T
}
/** What a command that fails says. */
async function failure(...args: string[]): Promise<Failed> {
  const error = (await athanor(...args).then(
    () => assert.fail(`${args.join(' ')} did not fail`),
    (thrown) => thrown,
  )) as { stdout: string; stderr: string }
  return (JSON.parse(error.stdout || error.stderr) as { error: Failed }).error
}
const wave = (dims: number[], k: number, scale = 0.5) =>
  float32(
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 0.7 + k) * scale),
  )
const settings = (...list: string[]) => list.flatMap((setting) => ['--set', setting])
const file = (name: string, content: Uint8Array | string) => {
  writeFileSync(join(root, name), content)
  return join(root, name)
}

/** Two layers: x (batch, 3) → hidden → y, and `probabilities` for classes. */
function perceptron(classes: number) {
  const graph = new GraphBuilder()
  const x = graph.input('x', 'float32', ['n', 3])
  const hidden = o.tanh(
    o.gemm(x, graph.initializer('first.weight', wave([8, 3], 1)), graph.initializer('first.bias', wave([8], 2)), {
      transB: true,
    }),
  )
  const y = o.add(
    o.matMul(hidden, graph.initializer('last.weight', wave([8, classes], 3))),
    graph.initializer('last.bias', wave([classes], 4)),
  )
  graph.output(classes > 1 ? o.softmax(y) : y, 'y')
  return writeModel(graph.build())
}
const point = (i: number) => [0, 1, 2].map((k) => Math.sin(i * (1.3 + k) + k))
const points = Array.from({ length: 200 }, (_, i) => point(i))

test('a graph of tensors learns classes and numbers from JSONL, the frozen part stays', async () => {
  const classed = (rows: number[][]) =>
    rows.map((x) => JSON.stringify({ x, label: x[0] + x[1] > 0 ? 'up' : 'down' })).join('\n')
  const data = file('points.jsonl', classed(points))
  // of a tenth of the points each would be five hundredths of the accuracy
  const others = file('others.jsonl', classed(Array.from({ length: 300 }, (_, i) => point(1000 + i))))
  const model = file('two.onnx', perceptron(2))
  const options = [
    ...settings('epochs=30', 'batchSize=16', 'learningRate=0.03', 'patience=100'),
    '--loss',
    'cross-entropy',
    '--validation',
    others,
  ]
  const first = await athanor<{ metrics: { accuracy: number }; family: string }>(
    ...['train', data, '--from', model, '--name', 'points', '--trainable', '^last', ...options],
  )
  assert.equal(first.family, 'onnx')
  assert.ok(first.metrics.accuracy > 0.8, JSON.stringify(first.metrics))
  const { manifest } = await client.models.show('points')
  assert.deepEqual([manifest.task, manifest.labels], ['tensor', ['down', 'up']])
  const [before, after] = [Buffer.from(perceptron(2)), Buffer.from(await client.models.file('points', 'model.onnx'))]
  const bytes = (values: { data: unknown }) => Buffer.from((values.data as Float32Array).buffer)
  assert.ok(after.includes(bytes(wave([8, 3], 1))), 'what is frozen stays as it was')
  assert.ok(before.includes(bytes(wave([8, 2], 3))) && !after.includes(bytes(wave([8, 2], 3))))
  const { outputs } = await client.infer('points', { x: { shape: [1, 3], data: [0.9, 0.9, 0] } })
  assert.ok((outputs.y.data[1] as number) > 0.5)

  // once more, from the registered version
  const again = await athanor<{ version: number; metrics: { accuracy: number } }>(
    ...['train', data, '--from', 'points@1', '--name', 'points', ...options],
  )
  assert.equal(again.version, 2)
  assert.ok(again.metrics.accuracy >= 0.9)

  const summed = (rows: number[][]) => rows.map((x) => JSON.stringify({ x, total: x[0] - x[2] })).join('\n')
  const sums = file('sums.jsonl', summed(points))
  const held = file('held.jsonl', summed(Array.from({ length: 300 }, (_, i) => point(1000 + i))))
  const fitted = await athanor<{ metrics: { loss: number; accuracy?: number } }>(
    ...['train', sums, '--from', file('one.onnx', perceptron(1)), '--loss', 'mse', '--label', 'total'],
    ...['--validation', held],
    ...settings('epochs=40', 'batchSize=16', 'learningRate=0.02'),
  )
  assert.ok(fitted.metrics.loss < 0.02 && fitted.metrics.accuracy === undefined, JSON.stringify(fitted.metrics))

  // 300 held-out rows are enough to tell what is normal
  const ask = async (from: number, shift: number) => {
    for (let i = 0; i < 250; i += 50) {
      const data = Array.from({ length: 50 }, (_, row) => point(from + i + row).map((value) => value + shift)).flat()
      await client.infer('sums', { x: { shape: [50, 3], data } })
    }
  }
  const judged = async (count: number) => {
    for (;;) {
      const report = await client.drift('sums')
      if (report.windows.length >= count) return report
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  await ask(2000, 0)
  const calm = await judged(1)
  assert.deepEqual([calm.watched, calm.drifted, calm.estimatedAccuracy], [true, [], undefined])
  await ask(3000, 3)
  const { drifted } = await judged(2)
  assert.deepEqual(drifted.map(({ feature }) => feature).sort(), ['x[0]', 'x[1]', 'x[2]', 'y'])
  assert.match(drifted[0].meaning, /takes other values/)
  assert.ok((await client.alerts({ open: true })).some(({ rule, model }) => rule === 'drift' && model === 'sums'))
})

test('an imported graph is compared with rows that are given with it', async () => {
  await client.models.import('doubled', perceptron(1))
  assert.equal((await client.drift('doubled')).watched, false)
  const rows = (count: number) => Array.from({ length: count }, (_, i) => ({ x: point(i), label: 0 }))
  const lines = (count: number) =>
    rows(count)
      .map((row) => JSON.stringify(row))
      .join('\n')
  const few = await failure('drift', 'doubled', '--compare-with', file('few.jsonl', lines(50)))
  assert.deepEqual([few.code, few.message.includes('200 rows')], ['OPTION_INVALID', true])
  const made = await athanor<{ version: number; rows: number }>(
    ...['drift', 'doubled', '--compare-with', file('many.jsonl', lines(300))],
  )
  assert.deepEqual(made, { model: 'doubled', version: 2, rows: 300 })
  const { watched, reference } = await client.drift('doubled@2')
  assert.deepEqual([watched, reference], [true, { rows: 300 }])
})

test('a network of images gets a new head and learns other classes', async () => {
  const folder = join(root, 'stripes')
  for (const along of ['rows', 'columns', 'neither']) {
    mkdirSync(join(folder, along), { recursive: true })
    for (let k = 0; k < 30; k++) {
      const data = Uint8Array.from({ length: 768 }, (_, i) => {
        const [y, x] = [Math.floor(i / 48), Math.floor(i / 3) % 16]
        const wave = along === 'rows' ? Math.sin(y * 1.3 + k) : along === 'columns' ? Math.sin(x * 1.3 + k) : 0
        return 120 + 70 * wave + ((i * 31 + k * 17) % 30)
      })
      writeFileSync(
        join(folder, along, `${k}.png`),
        await sharp(data, { raw: { width: 16, height: 16, channels: 3 } })
          .png()
          .toBuffer(),
      )
    }
  }
  const graph = new GraphBuilder()
  const x = graph.input('image', 'float32', [1, 3, 'height', 'width'])
  const weight = graph.initializer('conv.weight', wave([16, 3, 3, 3], 1))
  const features = o.relu(o.conv(x, weight, [1, 1, 1, 1], [2, 2]))
  const pooled = o.flatten(o.globalAveragePool(features))
  const head = [graph.initializer('fc.weight', wave([10, 16], 2)), graph.initializer('fc.bias', wave([10], 3))]
  graph.output(o.gemm(pooled, head[0], head[1], { transB: true }), 'logits')
  const model = file('published.onnx', writeModel(graph.build()))

  const wrong = await failure('train', folder, '--from', model)
  assert.equal(wrong.code, 'OPTION_INVALID')
  assert.match(wrong.message, /tells 10 classes, the data has 3; pass --head 3/)
  const { metrics, family } = await athanor<{ metrics: { accuracy: number }; family: string }>(
    ...['train', folder, '--from', model, '--head', '3', '--name', 'stripes'],
    ...settings('size=16', 'epochs=60', 'batchSize=16', 'learningRate=0.03', 'shift=1'),
  )
  assert.equal(family, 'onnx-images')
  assert.ok(metrics.accuracy > 0.8, JSON.stringify(metrics))
  const { manifest } = await client.models.show('stripes')
  assert.deepEqual(manifest.labels, ['columns', 'neither', 'rows'])
  assert.deepEqual((manifest.pipeline as { mean: number[] }).mean, [0.485, 0.456, 0.406])
  const [best] = await athanor<{ label: string }[]>('run', 'stripes', join(folder, 'rows', '3.png'))
  assert.equal(best.label, 'rows')
})

test('what cannot be trained further is told, and leaves no version', async () => {
  const upload = async (name: string, content: string | Uint8Array) =>
    (await client.datasets.upload(name, new Blob([content as string]))).id
  /** How a run ends that must not be done: refused at once, or failed. */
  const ends = async (spec: Omit<RunSpec, 'name'>): Promise<string> => {
    try {
      const { run } = await client.runs.create({ name: 'no', ...spec })
      for await (const _ of client.runs.events(run));
      const { error } = await client.runs.get(run)
      return `${error!.code}: ${error!.message}`
    } catch (error) {
      return `${(error as AthanorError).code}: ${(error as AthanorError).message}`
    }
  }
  const graph = new GraphBuilder()
  const x = graph.input('x', 'float32', ['n', 3])
  const y = o.matMul(x, graph.initializer('w', wave([3, 2], 1)))
  const axis = graph.constant({ dtype: 'int64', dims: [], data: BigInt64Array.of(1n) })
  graph.output(graph.node('Hardmax', [graph.node('CumSum', [y, axis])[0]])[0], 'y')
  const dataset = await upload('rows.jsonl', points.map((x, i) => JSON.stringify({ x, label: i % 2 })).join('\n'))
  const model = await upload('two.onnx', perceptron(2))
  const strange = await upload('strange.onnx', writeModel(graph.build()))
  assert.equal(
    await ends({ dataset, from: strange }),
    'GRADIENT_MISSING: operators without a gradient rule: CumSum, Hardmax',
  )
  assert.match(await ends({ dataset, from: 'nobody@3' }), /^MODEL_NOT_FOUND/)
  assert.match(await ends({ dataset, family: 'onnx' }), /^OPTION_INVALID: option from/)
  assert.match(await ends({ dataset, family: 'lstm', from: model }), /^OPTION_INVALID: option from/)
  await assert.rejects(client.models.show('no'))
})
