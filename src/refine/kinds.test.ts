import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readBundle, writeBundle } from '../bundle/bundle.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../formats/huggingface/folder.ts'
import type { EncoderConfig } from '../nn/bert.ts'
import type { EncoderHead } from '../nn/encoders.ts'
import { sentences } from '../testing/classifiers.ts'
import { anySpeed, wholeManifest } from '../testing/refining.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import type { GateEvent, RefineSpec, RunSpec } from '../train/events.ts'
import { train } from '../train/train.ts'
import { refine } from './refine.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-kinds-'))
after(() => rmSync(home, { recursive: true, force: true }))

interface Version {
  manifest: Manifest
  files: Record<string, string>
}

let runs = 0
const folderOf = (name: string) => {
  const folder = join(home, `${name}${runs++}`)
  mkdirSync(folder, { recursive: true })
  return folder
}

async function trained(spec: Partial<RunSpec>, path: string, name: string): Promise<Version> {
  const whole = { dataset: name, seed: 3, ...spec }
  const run = train({ run: 'run', spec: whole, dataset: { path, name }, folder: folderOf('train') }, noStop())
  for (;;) {
    const { value, done } = await run.next()
    if (done) return readBundle(value!.bundle)
  }
}
const noStop = () => new AbortController().signal

async function refined({ manifest, files }: Version, spec: Partial<RefineSpec>, data?: string, heldOut?: string) {
  const source = (path: string) => ({ path, name: path.split('/').at(-1)! })
  const job = {
    run: 'run',
    folder: folderOf('refine'),
    spec: { refine: 'm', tolerance: anySpeed, ...spec },
    source: { name: 'm', version: 1, manifest, files },
    ...(data && { data: source(data) }),
    ...(heldOut && { heldOut: source(heldOut) }),
  }
  let gate: GateEvent | undefined
  const notes: string[] = []
  for (const run = refine(job, noStop()); ; ) {
    const { value, done } = await run.next()
    if (done) return { gate: gate!, notes, version: await readBundle(value!.bundle) }
    if (value.type === 'gate') gate = value
    if (value.type === 'pass') notes.push(value.note)
  }
}
const line = ({ table }: GateEvent, name: string) => table.find((one) => one.name === name)!
const int8 = (scheme: string) => [{ name: 'quantize', options: { scheme, leave: 0 } }]

/** Stripes along rows or columns as idx files of MNIST's form. */
function stripes(): string {
  const folder = folderOf('stripes')
  const count = 240
  const images = Buffer.alloc(16 + count * 144)
  const labels = Buffer.alloc(8 + count)
  for (const [at, value] of [0x803, count, 12, 12].entries()) images.writeUInt32BE(value, 4 * at)
  for (const [at, value] of [0x801, count].entries()) labels.writeUInt32BE(value, 4 * at)
  for (let k = 0; k < count; k++) {
    labels[8 + k] = k % 2
    for (let i = 0; i < 144; i++) {
      const place = k % 2 ? Math.floor(i / 12) : i % 12
      images[16 + k * 144 + i] = 90 + 60 * Math.sin(place * 1.3 + k * 0.7) + ((i * 31 + k * 17) % 40)
    }
  }
  writeFileSync(join(folder, 'train-images-idx3-ubyte'), images)
  writeFileSync(join(folder, 'train-labels-idx1-ubyte'), labels)
  return folder
}

test('images: the held-out part of the same data judges, convolutions become integers, filters go', async () => {
  const data = stripes()
  const options = { width: 16, epochs: 4, batchSize: 16, shift: 1, threads: 1 }
  const version = await trained({ family: 'resnet', options }, data, 'stripes')
  const { gate, version: quantized } = await refined(
    version,
    { passes: [{ name: 'tidy' }, { name: 'merge' }, ...int8('int8-static')] },
    data,
  )
  assert.equal(gate.rows, version.manifest.metrics.rows)
  assert.equal(line(gate, 'accuracy').source, version.manifest.metrics.accuracy)
  assert.ok(line(gate, 'accuracy').refined > 0.9 && line(gate, 'size').change < 0.5)
  assert.equal(quantized.manifest.task, 'image-classification')
  const passes = [{ name: 'prune', options: { share: 0.5 } }]
  const pruned = await refined(version, { passes, options: { epochs: 1, threads: 1 }, force: true }, data)
  assert.ok(pruned.version.manifest.parameters < 0.75 * version.manifest.parameters)
  assert.ok(line(pruned.gate, 'accuracy').refined > 0.9, pruned.notes[0])
  const aware = [{ name: 'quantize', options: { scheme: 'int8-static', aware: true, leave: 0 } }]
  const learnt = await refined(version, { passes: aware, options: { threads: 1 }, force: true }, data)
  assert.ok(line(learnt.gate, 'accuracy').refined > 0.9, learnt.notes[0])
  await assert.rejects(refined(version, { passes: int8('int8-static') }), { code: 'REFINE_UNMEASURABLE' })
  const given = await refined(version, { passes: [{ name: 'merge' }], force: true }, undefined, stripes())
  assert.equal(given.gate.rows, 240)
  const { reference } = given.version.manifest
  assert.deepEqual(Object.keys(reference!.edges!), ['brightness', 'contrast', 'detail'])
  assert.equal(reference!.accuracy, line(given.gate, 'accuracy').refined)
})

/** An encoder as a version. */
async function published(encoder: PublishedEncoder) {
  const bundle = bundleEncoder(encoder)
  const folder = folderOf('published')
  await writeBundle(folder, wholeManifest(bundle), bundle.files)
  return { folder, version: await readBundle(folder) }
}

test('a classifier by an encoder loses heads and neurons, learns on by its labels, and stays an encoder', async () => {
  const rows = sentences(500)
  const texts = rows.map(({ text }) => text)
  const head = { task: 'text-classification', classes: 2 } as const
  const { folder, version } = await published(tinyEncoder(texts, head, { labels: ['bad', 'good'] }))
  const table = (name: string, part: typeof rows) => {
    writeFileSync(join(folder, name), ['text,label', ...part.map(({ text, label }) => `${text},${label}`)].join('\n'))
    return join(folder, name)
  }
  const passes = [{ name: 'prune', options: { share: 0.5, layers: 1, taught: 0 } }]
  const spec = { passes, options: { epochs: 8, learningRate: 0.003, threads: 1 }, force: true }
  const {
    gate,
    version: pruned,
    notes,
  } = await refined(version, spec, table('train.csv', rows.slice(100)), table('held.csv', rows.slice(0, 100)))
  assert.match(notes[0], /^without layers [01], inner 64 → 32, heads 4 → 2/)
  assert.ok(line(gate, 'accuracy').refined > 0.85, JSON.stringify(gate.table))
  assert.equal(pruned.manifest.family, 'bert')
  const { config } = pruned.manifest.encoder as { config: EncoderConfig }
  assert.deepEqual([config.layers, config.inner, config.heads, config.headSize], [1, 32, 2, 8])
})

const encoders: Record<string, { head: EncoderHead; labels: string[] }> = {
  'feature-extraction': { head: { task: 'feature-extraction', pooling: 'mean', unit: true }, labels: [] },
  'fill-mask': { head: { task: 'fill-mask' }, labels: [] },
  'token-classification': { head: { task: 'token-classification', classes: 3 }, labels: ['O', 'B-PER', 'I-PER'] },
}
for (const [task, { head, labels }] of Object.entries(encoders)) {
  test(`${task}: quantized by how alike its answers stay`, async () => {
    const texts = sentences(60).map(({ text }) => text)
    const { folder, version } = await published(tinyEncoder(texts, head, { labels }))
    const passes = [{ name: 'tidy' }, ...int8('int8')]
    const { gate, version: small } = await refined(version, { passes, tolerance: `agreement>=50%,${anySpeed}` })
    assert.ok(line(gate, 'agreement').refined > 0.5 && line(gate, 'size').change < 0.9)
    assert.equal(small.manifest.encoder, undefined, 'integers cannot be trained on as an encoder')
    assert.equal(small.manifest.reference, undefined, 'drawn texts are no reference')
    const file = (name: string, count: number) => {
      const lines = sentences(count).map(({ text }) => text)
      writeFileSync(join(folder, name), lines.join('\n'))
      return join(folder, name)
    }
    const [data, held] = [file('texts.txt', 60), file('held.txt', 240)]
    if (task === 'token-classification') {
      // it would be trained on by words with labels
      const given = await refined(version, { passes: int8('int8-weights'), force: true }, data, held)
      assert.equal(given.gate.rows, 240)
      return
    }
    const half = { passes: [{ name: 'prune', options: { share: 0.5 } }], options: { epochs: 1, threads: 1 } }
    const pruned = await refined(version, { ...half, force: true }, data, held)
    const { manifest: about } = pruned.version
    assert.match(pruned.notes[0], /inner 64 → 32, heads 4 → 2; trained on/)
    assert.equal(pruned.gate.rows, 240)
    // what is left is an encoder that can be trained on
    const { config } = about.encoder as { config: EncoderConfig }
    assert.deepEqual([config.inner, config.heads, config.headSize], [32, 2, 8])
    if (task === 'feature-extraction') {
      assert.ok(line(pruned.gate, 'agreement').refined > 0.5, JSON.stringify(pruned.gate.table))
      assert.equal(about.reference?.centroid?.length, 32)
    }
    await assert.rejects(refined(version, { ...half, force: true }), { code: 'REFINE_NEEDS_DATA' })
  })
}

test('a model that writes is held to its perplexity on the held-out part of its corpus', async () => {
  const animals = ['cat', 'dog', 'fox']
  const places = ['mat', 'den', 'park']
  const lines = Array.from({ length: 400 }, (_, i) => `the ${animals[i % 3]} sat on the ${places[i % 3]}.\n`)
  const path = join(folderOf('corpus'), 'animals.txt')
  writeFileSync(path, lines.join(''))
  const options = {
    context: 32,
    width: 32,
    layers: 2,
    heads: 2,
    batchSize: 16,
    learningRate: 0.01,
    threads: 1,
    epochs: 6,
  }
  const version = await trained({ task: 'text-generation', family: 'gpt', options }, path, 'animals.txt')
  const { gate } = await refined(version, { passes: int8('int4'), force: true }, path)
  assert.ok(gate.rows > 0)
  assert.ok(line(gate, 'perplexity').source < 3, JSON.stringify(gate.table))
  assert.ok(line(gate, 'perplexity').change < 1.5 && line(gate, 'size').change < 1)
  const passes = [{ name: 'prune', options: { share: 0.5, layers: 1 } }, ...int8('int8')]
  const pruned = await refined(version, { passes, options: { epochs: 3, threads: 1 }, force: true }, path)
  assert.match(pruned.notes[0], /^without layers [01], inner 128 → 64, heads 2 → 1; trained on/)
  assert.ok(line(pruned.gate, 'perplexity').refined < 3, JSON.stringify(pruned.gate.table))
  assert.ok(line(pruned.gate, 'size').change < 0.5)
})
