import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { trainingGraph } from '../autograd/training.ts'
import { AthanorError } from '../base/errors.ts'
import { classifierInputs, families } from '../nn/families.ts'
import { classifierLoss } from '../nn/losses.ts'
import type { Batch } from './batch.ts'
import type { Learner } from './learner.ts'
import { assertFits, memoryOf, memoryOfStep } from './memory.ts'

const config = { vocabulary: 100, classes: 2, width: 64, layers: 2, heads: 4, inner: 256, dropout: 0.1 }
const graph = trainingGraph((network) => {
  const { ids, lengths } = classifierInputs(network.graph)
  const labels = network.graph.input('labels', 'int64', ['batch'])
  return classifierLoss(families.transformer.build(network, ids, lengths, config), labels)
})
const batch = (rows: number, time: number): Batch => {
  const tensor = (...dims: number[]) => ({
    type: 'int64' as const,
    dims,
    data: new BigInt64Array(dims.reduce((a, b) => a * b, 1)),
  })
  const tensors = { ids: tensor(rows, time), lengths: tensor(rows), labels: tensor(rows) }
  return { tensors, rows, sizes: { time } }
}
const work = { ways: 2, kept: 3, block: 1 }

test('what is alive between forward and backward pass grows with rows and, through attention, with the square of time', () => {
  const memory = (rows: number, time: number) => memoryOfStep(graph, batch(rows, time), work)
  const base = memory(2, 1)
  const [one, two, longer] = [memory(32, 128), memory(64, 128), memory(32, 256)].map((bytes) => bytes - base)
  assert.ok(two / one > 1.95 && two / one < 2.05, String(two / one))
  assert.ok(longer / one > 2.2 && longer / one < 4, String(longer / one))
  // at the least what each layer must keep: the widened rows before and after GELU, and the attention of four heads
  const kept = config.layers * 32 * (2 * 128 * config.inner + config.heads * 128 ** 2) * 4
  assert.ok(one > kept && one < 6 * kept, `${one} of ${kept}`)
})

test('training that would not fit is refused, with what would', () => {
  const rows = [Int32Array.of(0, 1), Int32Array.of(2, 3)]
  // the second batch is the longer one
  const assemble = ([first]: Int32Array) => batch(64, first === 2 ? 512 : 8)
  const learner = { graph, batches: () => rows, assemble } as unknown as Learner
  const memory = (rows: number, time: number) => memoryOf(graph, batch(rows, time), work)
  assertFits(learner, work, memory(64, 512))
  const refused = (available: number) => {
    try {
      assertFits(learner, work, available)
    } catch (error) {
      assert.ok(error instanceof AthanorError)
      return error
    }
    return assert.fail('it fits')
  }
  const error = refused(memory(16, 512))
  assert.equal(error.code, 'TRAINING_MEMORY')
  assert.match(error.message, /would take about \d+ MB of memory, and \d+ MB are free/)
  assert.match(error.hint, /^--set batchSize=16 would fit; with --set accumulate=4 as well/)
  assert.match(refused(1e6).hint, /^Not even one row/)
})

/** Trains in a process of its own; what was reckoned with, and the most that it ever had resident, in bytes. */
async function measured(folder: string, data: string, spec: object): Promise<{ memory: number; peak: number }> {
  const job = {
    run: 'x',
    spec: { dataset: '', ...spec },
    dataset: { path: join(folder, data), name: data },
    folder,
  }
  const script = `
    const { train } = await import(${JSON.stringify(new URL('./train.ts', import.meta.url).href)})
    let memory = 0
    for await (const event of train(${JSON.stringify(job)}, new AbortController().signal))
      if (event.type === 'model') memory = event.memory
    console.log(JSON.stringify({ memory, peak: 1024 * process.resourceUsage().maxRSS }))
    process.exit(0)`
  writeFileSync(join(folder, 'script.mjs'), script)
  const child = spawn(process.execPath, [join(folder, 'script.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await Promise.all([text(child.stdout), once(child, 'exit')])
  return JSON.parse(said) as { memory: number; peak: number }
}

/** The head of an idx file of bytes with these dimensions. */
function idx(axes: number, ...dims: number[]): Buffer {
  const head = Buffer.alloc(4 + 4 * axes)
  head.set([0, 0, 8, axes])
  for (const [i, size] of dims.entries()) head.writeUInt32BE(size, 4 + 4 * i)
  return head
}

test('what is reckoned with is no less than a run takes from its first step to its bundle, and not much more', async () => {
  const words = Array.from({ length: 4000 }, (_, i) => `w${i}`)
  const rows = Array.from({ length: 160 }, (_, i) => {
    const told = Array.from({ length: 100 }, (_, k) => words[(i * 7919 + k * 104_729) % words.length])
    return `${told.join(' ')},${i % 2}`
  })
  const images = Buffer.from(Uint8Array.from({ length: 128 * 28 * 28 }, (_, i) => (i * 7919 + (i >> 9) * 31) % 256))
  const data = {
    'x.csv': `text,label\n${rows.join('\n')}\n`,
    'x.txt': rows.join('\n'),
    'idx/train-images-idx3-ubyte': Buffer.concat([idx(3, 128, 28, 28), images]),
    'idx/train-labels-idx1-ubyte': Buffer.concat([
      idx(1, 128),
      Buffer.from(images.map((_, i) => i % 2).subarray(0, 128)),
    ]),
  }
  const loop = { maxSteps: 3, epochs: 1, batchSize: 32, minimumCount: 1, tokenizer: 'word', heldOutRows: 0 }
  const specs = [
    {
      family: 'gpt',
      task: 'text-generation',
      options: { maxSteps: 3, epochs: 1, batchSize: 12, context: 64, threads: 2 },
    },
    { family: 'resnet', task: 'image-classification', options: { maxSteps: 3, epochs: 1, batchSize: 64, threads: 2 } },
    { family: 'transformer', options: { ...loop, width: 96, layers: 2, heads: 4, inner: 384, threads: 2 } },
    { family: 'lstm', options: { ...loop, width: 96, hidden: 96, threads: 2 } },
  ]
  for (const spec of specs) {
    const folder = mkdtempSync(join(tmpdir(), 'athanor-memory-'))
    mkdirSync(join(folder, 'idx'))
    for (const [name, content] of Object.entries(data)) writeFileSync(join(folder, name), content)
    const name = { gpt: 'x.txt', resnet: 'idx' }[spec.family] ?? 'x.csv'
    const { memory, peak } = await measured(folder, name, spec).finally(() => rmSync(folder, { recursive: true }))
    const told = `${spec.family}: reckoned ${Math.round(memory / 1e6)} MB, took ${Math.round(peak / 1e6)} MB`
    assert.ok(memory >= peak && memory <= 1.3 * peak, told)
  }
})
