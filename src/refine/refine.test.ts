import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Athanor, type RefineSpec, type TrainEvent } from '../../client/src/index.ts'
import { type App, startApp } from '../app.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { placesAt } from '../testing/backends.ts'
import { madeClassifier } from '../testing/classifiers.ts'
import { anySpeed } from '../testing/refining.ts'

/** No test may hang on how fast the machine is. */

const home = mkdtempSync(join(tmpdir(), 'athanor-refine-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  const { manifest, model, files, samples } = await madeClassifier('lstm', { width: 64, hidden: 32 })
  const rows = samples.map((row) => `${JSON.stringify(row)}\n`)
  const all = { 'model.onnx': writeModel(model), ...files, 'heldout.jsonl': Buffer.from(rows.slice(0, 60).join('')) }
  await app.house.registry.register('made', manifest, { ...all, 'heldin.jsonl': Buffer.from(rows.slice(60).join('')) })
  await app.house.registry.register('bare', manifest, { 'model.onnx': writeModel(model), ...files })
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['rows', 64])
  const weight = float32(
    [64, 256],
    Array.from({ length: 64 * 256 }, (_, i) => Math.sin(i * 1.1)),
  )
  g.output(o.relu(o.matMul(x, g.initializer('w', weight))), 'y')
  await client.models.import('plain', writeModel(g.build()))
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

async function refined(spec: RefineSpec) {
  const { run } = await client.refine(spec)
  const events: TrainEvent[] = []
  for await (const event of client.runs.events(run)) events.push(event)
  const gate = events.findLast((event) => event.type === 'gate')
  const done = events.find((event) => event.type === 'done')
  const failed = events.find((event) => event.type === 'failed')
  return { events, gate, done, failed }
}
const change = (gate: { table: { name: string; change: number }[] } | undefined, name: string) =>
  gate!.table.find((line) => line.name === name)!.change

test('int8: measured, registered with its lineage, served, and its files travel along', async () => {
  const { gate, done } = await refined({
    refine: 'made',
    passes: [{ name: 'tidy' }, { name: 'quantize', options: { scheme: 'int8' } }],
    tolerance: anySpeed,
  })
  assert.ok(done && gate)
  assert.equal(gate.rows, 60)
  assert.ok(change(gate, 'size') < 0.6)
  const { manifest, files } = await client.models.show(`made@${done.version}`)
  assert.deepEqual(manifest.lineage.refinedFrom, { model: 'made', version: 1 })
  assert.deepEqual(
    manifest.lineage.passes?.map(({ name }) => name),
    ['tidy', 'quantize'],
  )
  assert.deepEqual(manifest.lineage.measurements, gate.table)
  assert.equal(manifest.metrics.rows, 60)
  assert.deepEqual(
    files.map(({ name }) => name),
    ['heldin.jsonl', 'heldout.jsonl', 'model.onnx', 'tokenizer.json'],
  )
  const [one, two] = await Promise.all(
    ['made@1', `made@${done.version}`].map((ref) => client.predict(ref, 'sun w1 w2')),
  )
  assert.equal(one[0].label, two[0].label)
  assert.ok(Math.abs(one[0].score - two[0].score) < 0.05)
})

test('worse than the tolerance: refused with the table, nothing registered; force registers it and says so', async () => {
  const spec: RefineSpec = {
    refine: 'made@1',
    passes: [{ name: 'quantize', options: { scheme: 'float16' } }],
    tolerance: `size<=0.01,${anySpeed}`,
    name: 'half',
  }
  const { failed, gate } = await refined(spec)
  assert.equal(failed?.error.code, 'GATE_REFUSED')
  assert.match(failed.error.message, /float16 is not small enough/)
  assert.equal(gate?.accepted, false)
  assert.deepEqual(readdirSync(join(home, 'runs')), [], 'what was refused leaves the table and the reason, no files')
  await assert.rejects(client.models.show('half'), { code: 'MODEL_NOT_FOUND' })
  const { done } = await refined({ ...spec, force: true })
  assert.equal(done?.model, 'half')
  const { manifest } = await client.models.show('half')
  assert.match(manifest.lineage.forced!.join(), /not small enough/)
})

test('athanor refine: a refused version ends with exit code 3 and the table; show tells where one came from', async () => {
  const cli = (...args: string[]) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
      const child = spawn(
        process.execPath,
        [fileURLToPath(new URL('../../bin/athanor.js', import.meta.url)), ...args],
        {
          env: { ...process.env, ATHANOR_URL: app.url, NO_COLOR: '1' },
        },
      )
      let [out, err] = ['', '']
      child.stdout.on('data', (piece) => {
        out += piece
      })
      child.stderr.on('data', (piece) => {
        err += piece
      })
      child.once('close', (code) => resolve({ code, out, err }))
    })
  const refused = await cli('refine', 'made@1', '--quantize', 'float16', '--tolerance', `size<=0.01,${anySpeed}`)
  assert.equal(refused.code, 3)
  assert.match(refused.out, /^MEASURE +SOURCE +REFINED +CHANGE\naccuracy /)
  assert.match(refused.err, /refused: float16 is not small enough/)
  const [newest] = await client.runs.list()
  const told = await cli('ps', newest.run)
  assert.match(told.out, /MEASURE +SOURCE +REFINED[\s\S]*GATE_REFUSED: refused: float16 is not small enough/)
  const json = await cli('refine', 'made@1', '--quantize', 'float16', '--tolerance', `size<=0.01,${anySpeed}`, '--json')
  assert.equal(json.code, 3)
  const { error, gate } = JSON.parse(json.out) as { error: { code: string }; gate: { accepted: boolean } }
  assert.deepEqual([error.code, gate.accepted], ['GATE_REFUSED', false])
  const shown = await cli('show', 'made@2')
  assert.match(shown.out, /refined +from made@1/)
  assert.match(shown.out, /quantize: int8/)
})

test('a plain graph is measured on drawn inputs', async () => {
  const { gate, done } = await refined({
    refine: 'plain',
    passes: [{ name: 'quantize', options: { scheme: 'int8-weights' } }],
    tolerance: anySpeed,
  })
  assert.ok(done && change(gate, 'size') < 0.5)
  assert.equal(gate!.rows, 0)
})

test('a goal: combinations are tried, what cannot be done is passed over, and the chosen one is registered', async () => {
  const goal = `size<=0.5,agreement>=98%,size=min,${anySpeed}`
  const { events, gate, done } = await refined({ refine: 'plain@1', goal, name: 'found' })
  const tried = events.filter((event) => event.type === 'gate' && !event.chosen)
  assert.ok(tried.length >= 5)
  assert.ok(tried.some((event) => event.type === 'gate' && event.pareto))
  assert.ok(done && gate?.chosen && change(gate, 'size') <= 0.5)
  const smaller = tried.filter(
    (event) => event.type === 'gate' && event.accepted && change(event, 'size') < change(gate, 'size'),
  )
  assert.deepEqual(smaller, [])
})

test('a cancelled refinement leaves nothing, an interrupted one only what goes on with it, until it is cancelled', async () => {
  const passes = [{ name: 'quantize', options: { scheme: 'float16' } }]
  const folder = (run: string) => join(home, 'runs', run)
  /** Begins a refinement and does something to it while it is measured. */
  const meddled = async (act: (run: string) => Promise<unknown>) => {
    const { run } = await client.refine({ refine: 'plain@1', passes, tolerance: anySpeed })
    let done: Promise<unknown> | undefined
    for await (const event of client.runs.events(run))
      if (event.type === 'state' && event.state === 'measuring') done ??= act(run)
    await done
    return run
  }
  const cancelled = await meddled(client.runs.cancel)
  assert.equal((await client.runs.get(cancelled)).state, 'cancelled')
  const interrupted = await meddled(client.runs.interrupt)
  assert.equal((await client.runs.get(interrupted)).state, 'interrupted')
  assert.deepEqual(readdirSync(join(home, 'runs')), [interrupted])
  const kept = readdirSync(folder(interrupted)).filter((name) => !name.startsWith('.lock')) // the trainer's, which may still be ending
  assert.deepEqual(kept, [])
  await client.runs.cancel(interrupted)
  const { failed } = await refined({ refine: 'bare', passes })
  assert.equal(failed?.error.code, 'REFINE_UNMEASURABLE')
  const [left] = readdirSync(join(home, 'runs'))
  await client.runs.cancel(left)
  assert.equal((await client.runs.get(left)).state, 'cancelled')
  assert.deepEqual(readdirSync(join(home, 'runs')), [])
})

test('a classifier without held-out rows needs some; given ones are used', async () => {
  const passes = [{ name: 'quantize', options: { scheme: 'float16' } }]
  assert.equal((await refined({ refine: 'bare', passes })).failed?.error.code, 'REFINE_UNMEASURABLE')
  const rows = 'text,label\nsun w1 w2 w3,good\nrain w4 w5 w6,bad\n'
  const { id } = await client.datasets.upload('rows.csv', new TextEncoder().encode(rows))
  const { gate } = await refined({ refine: 'bare', passes, heldOut: id, tolerance: anySpeed })
  assert.equal(gate?.rows, 2)
})

test('what cannot be asked for is told at once', async () => {
  for (const [spec, part] of [
    [{ passes: [{ name: 'quantise' }] }, 'quantize'],
    [{ passes: [{ name: 'quantize', options: { scheme: 'int7' } }] }, 'expected one of int8'],
    [{ passes: [{ name: 'quantize' }, { name: 'clip' }] }, 'put it before quantize'],
    [{}, 'either passes or a goal'],
    [{ passes: [{ name: 'tidy' }], tolerance: 'speed>=1' }, 'no measure "speed"'],
  ] as const) {
    await assert.rejects(client.refine({ refine: 'made', ...spec } as RefineSpec), (error: Error & { hint: string }) =>
      `${error.message} ${error.hint}`.includes(part),
    )
  }
  for (const more of [{ problem: 'multi-label' }, { engine: 'llama' }] as const) {
    const { manifest, model, files } = await madeClassifier('bow', { width: 8, buckets: 50 })
    const bytes = writeModel(model)
    const content = { 'model.onnx': bytes, 'model.gguf': bytes, ...files }
    await app.house.registry.register('other', { ...manifest, ...more }, content)
    await assert.rejects(client.refine({ refine: 'other', passes: [{ name: 'tidy' }] }), { code: 'UNSUPPORTED' })
  }
  await assert.rejects(client.refine({ refine: 'nothing', passes: [{ name: 'tidy' }] }), { code: 'MODEL_NOT_FOUND' })
})
