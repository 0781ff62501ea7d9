import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { gradientName, indicesName, type TrainingGraph, trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { readConfig } from '../formats/huggingface/config.ts'
import { publishedName } from '../formats/huggingface/names.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import type { Batch } from '../train/batch.ts'
import { TrainingSession } from '../train/session.ts'
import { encoder, FULL, merged, type Tuning, targets } from './bert.ts'
import { type EncoderHead, encoderLoss, encoderModel, encoderParameters, portableModel } from './encoders.ts'
import { inferenceNetwork } from './inference.ts'
import { tokens } from './layers.ts'

/** What tools/golden-encoders.py recorded from Hugging Face's transformers. */
const golden = JSON.parse(readFileSync(new URL('./bert.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    kind: 'bert' | 'roberta' | 'distilbert'
    architecture: string
    config: Record<string, unknown>
    parameters: Record<string, number[]>
    hidden: number[]
    gradients: Record<string, number[]>
    losses: number[]
  }[]
}
type Weights = Record<string, { dims: readonly number[]; data: Float32Array }>
type Task = EncoderHead['task']
const [rows, time] = [4, 7]

function fill(parameters: Record<string, number[]>): Weights {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, dims], k) => {
      const norm = /norm/i.test(name) && name.endsWith('weight')
      const scale = name.includes('embeddings') && !norm ? 0.5 : 0.3
      const length = dims.reduce((a, b) => a * b, 1)
      return [
        name,
        { dims, data: Float32Array.from({ length }, (_, i) => (norm ? 1 : 0) + Math.sin(i * 0.7 + k) * scale) },
      ]
    }),
  )
}

const big = (dims: number[], values: number[]) =>
  ({ type: 'int64', dims, data: BigInt64Array.from(values, BigInt) }) as const
const every = <T>(make: (r: number, i: number) => T) =>
  Array.from({ length: rows * time }, (_, at) => make(Math.floor(at / time), at % time))

function batchAt(step: number, task: Task): Batch {
  const lengths = Array.from({ length: rows }, (_, r) => time - ((r * 2 + step) % 6))
  const id = (r: number, i: number) => 4 + ((r * 7 + i * 3 + step * 5) % 36)
  const ids = every((r, i) => (i < lengths[r] ? id(r, i) : 1))
  const tensors = { ids: big([rows, time], ids), lengths: big([rows], lengths) }
  if (task === 'text-classification') {
    const labels = lengths.map((_, r) => (r + step) % 3)
    return { tensors: { ...tensors, labels: big([rows], labels) }, rows, sizes: { time } }
  }
  if (task === 'token-classification') {
    const labels = every((r, i) => (i < lengths[r] ? (r + i) % 3 : -1))
    return { tensors: { ...tensors, labels: big([rows, time], labels) }, rows, sizes: { time }, weights: lengths }
  }
  // every third token from the second on; two places a row, of which one may be empty
  const places = lengths.flatMap((length) => [1, 4].map((i) => (i < length ? i : 0)))
  const labels = lengths.flatMap((length, r) => [1, 4].map((i) => (i < length ? (id(r, i) * 5) % 40 : -1)))
  const weights = lengths.map((length) => [1, 4].filter((i) => i < length).length)
  const masked = { positions: big([rows, 2], places), labels: big([rows, 2], labels) }
  return { tensors: { ...tensors, ...masked }, rows, sizes: { time, places: 2 }, weights }
}

const learn = (config: Parameters<typeof encoderLoss>[1], head: EncoderHead, tuning: Tuning = FULL): TrainingGraph =>
  trainingGraph((network) => encoderLoss(network, config, head, { tuning, dropout: 0 }))

const feedsOf = (batch: Batch, names: readonly string[]) =>
  Object.fromEntries(
    names.map((name) => [
      name,
      new ort.Tensor('int64', batch.tensors[name].data as BigInt64Array, [...batch.tensors[name].dims]),
    ]),
  )

for (const { kind, architecture, config: json, parameters, hidden, gradients, losses } of golden.cases) {
  const { config, task, labels } = readConfig(json)
  const head = (task.endsWith('classification') ? { task, classes: labels.length } : { task }) as EncoderHead
  const published = fill(parameters)
  const nameOf = (ours: string) => publishedName(ours, config.layout, task)
  const own = encoderParameters(config, head)
  const weights: Weights = Object.fromEntries(
    own.map(({ name, dims }) => [name, { dims, data: published[nameOf(name)]?.data }]),
  )

  test(`${architecture} (${kind}): its parameters are those of transformers, name by name`, () => {
    for (const { name, dims } of own) assert.deepEqual(published[nameOf(name)]?.dims, dims, `${name} → ${nameOf(name)}`)
    const used = new Set(own.map(({ name }) => nameOf(name)))
    const others = Object.keys(parameters).filter((name) => !used.has(name))
    assert.deepEqual(others, [], 'nothing of it is left over')
  })

  test(`${architecture} (${kind}): hidden states within 1e-5 of transformers`, async () => {
    const graph = new GraphBuilder()
    const [ids, lengths] = [graph.input('ids', 'int64', ['batch', 'time']), graph.input('lengths', 'int64', ['batch'])]
    graph.output(
      encoder(inferenceNetwork(graph, weights), { ids, valid: tokens(ids, lengths) }, config).hidden,
      'hidden',
    )
    const session = await ort.InferenceSession.create(writeModel(graph.build()), { logSeverityLevel: 3 })
    const batch = batchAt(0, task)
    const values = (await session.run(feedsOf(batch, ['ids', 'lengths']))).hidden.data as Float32Array
    const valid = every((r, i) => BigInt(i) < (batch.tensors.lengths.data as BigInt64Array)[r])
    const mine = Array.from(values).filter((_, i) => valid[Math.floor(i / config.width)])
    assert.equal(mine.length, hidden.length)
    mine.forEach((value, i) => {
      assert.ok(Math.abs(value - hidden[i]) <= 1e-5, `element ${i}: ${value}, transformers ${hidden[i]}`)
    })
  })

  test(`${architecture} (${kind}): gradients of the first step within 1e-5 of PyTorch`, async () => {
    const graph = learn(config, head)
    const session = await ort.InferenceSession.create(writeModel(graph.model), { logSeverityLevel: 3 })
    const batch = batchAt(0, task)
    const given = Object.entries(weights).map(([name, { dims, data }]) => [name, new ort.Tensor('float32', data, dims)])
    const share = new ort.Tensor('float32', Float32Array.of(1), [])
    const results = await session.run({
      ...Object.fromEntries(given),
      ...feedsOf(batch, Object.keys(batch.tensors)),
      share,
    })
    for (const { name, dims } of graph.parameters) {
      let gradient = results[gradientName(name)].data as Float32Array
      const indices = results[indicesName(name)]?.data as BigInt64Array | undefined
      if (indices) gradient = spread(gradient, indices, dims)
      const [norm, ...picked] = gradients[nameOf(name)]
      const every = Math.max(1, Math.floor(gradient.length / 12))
      const mine = [Math.hypot(...gradient), ...gradient.filter((_, i) => i % every === 0)]
      ;[norm, ...picked].forEach((value, i) => {
        assert.ok(
          Math.abs(mine[i] - value) <= 1e-5 * Math.max(1, Math.abs(value)),
          `${name} ${i}: ${mine[i]}, PyTorch ${value}`,
        )
      })
    }
  })

  test(`${architecture} (${kind}): 100 losses within 1e-4 of PyTorch`, async () => {
    for (const threads of [1, 2]) {
      const options = {
        optimizer: 'adamw',
        weightDecay: 0,
        clipNorm: 0,
        seed: 1,
        threads,
        batchSize: 8 * threads,
      } as const
      const session = await TrainingSession.create(learn(config, head), options)
      session.restore(weights, 0)
      for (const [step, expected] of losses.entries()) {
        const { loss } = await session.train(batchAt(step, task), 1e-3)
        assert.ok(Math.abs(loss - expected) <= 1e-4 * expected, `step ${step + 1}: ${loss}, PyTorch ${expected}`)
      }
      await session.close()
    }
  })
}

function spread(values: Float32Array, indices: BigInt64Array, [count, width]: readonly number[]): Float32Array {
  const table = new Float32Array(count * width)
  indices.forEach((row, i) => {
    for (let j = 0; j < width; j++) table[Number(row) * width + j] += values[i * width + j]
  })
  return table
}

const { config: small } = readConfig(golden.cases[0].config)
const published = fill(golden.cases[0].parameters)
const classes = { task: 'text-classification', classes: 3 } as const
const start: Weights = Object.fromEntries(
  encoderParameters(small, classes).map(({ name, dims }) => [
    name,
    { dims, data: published[publishedName(name, 'bert', classes.task)].data },
  ]),
)
const tunings: Tuning[] = [
  FULL,
  { mode: 'last', layers: 1 },
  { mode: 'lora', rank: 2, alpha: 4, targets: new Set(targets) },
]

test('what a mode leaves alone stays bit for bit; low-rank changes are served merged', async () => {
  for (const tuning of tunings) {
    const graph = learn(small, classes, tuning)
    const options = { optimizer: 'adamw', weightDecay: 0.01, clipNorm: 1, seed: 1, threads: 1, batchSize: 4 } as const
    const session = await TrainingSession.create(graph, options)
    session.restore(start, 0)
    const before = await session.train(batchAt(0, classes.task), 1e-2)
    for (let step = 1; step < 8; step++) await session.train(batchAt(0, classes.task), 1e-2)
    const after = await session.train(batchAt(0, classes.task), 0)
    assert.ok(after.loss < before.loss, `${tuning.mode} learns: ${before.loss} → ${after.loss}`)
    const trained = session.parameters()
    await session.close()
    const names = new Set(graph.frozen.map(({ name }) => name))
    for (const { name, data } of Object.entries(start).map(([name, { data }]) => ({ name, data })))
      assert.equal(
        names.has(name),
        Buffer.compare(Buffer.from(data.buffer), Buffer.from(trained[name].data.slice().buffer)) === 0,
        name,
      )
    const layers = [...names].filter((name) => name.startsWith('layer.'))
    const expected = { full: [], last: ['layer.0'], lora: ['layer.0', 'layer.1'] }[tuning.mode]
    assert.deepEqual([...new Set(layers.map((name) => name.split('/')[0]))], expected)

    const served = merged(trained, tuning.mode === 'lora' ? tuning.alpha : 0)
    assert.deepEqual(new Set(Object.keys(served)), new Set(Object.keys(start)))
    const model = await ort.InferenceSession.create(writeModel(encoderModel(small, classes, served)), {
      logSeverityLevel: 3,
    })
    const batch = batchAt(0, classes.task)
    const { probabilities } = await model.run(feedsOf(batch, ['ids', 'lengths']))
    const truth = batch.tensors.labels.data as BigInt64Array
    let loss = 0
    truth.forEach((label, r) => {
      loss -= Math.log((probabilities.data as Float32Array)[r * 3 + Number(label)]) / rows
    })
    assert.ok(Math.abs(loss - after.loss) <= 1e-5, `${tuning.mode}: served ${loss}, trained ${after.loss}`)
  }
})

test('the portable graph says what the served one says, padding or not', async () => {
  const open = (model: Parameters<typeof writeModel>[0]) =>
    ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
  const [served, portable] = [
    await open(encoderModel(small, classes, start)),
    await open(portableModel(small, classes, start)),
  ]
  assert.deepEqual(portable.inputNames, ['input_ids', 'attention_mask', 'token_type_ids'])
  const batch = batchAt(2, classes.task)
  const lengths = batch.tensors.lengths.data as BigInt64Array
  const wide = (make: (r: number, i: number) => bigint) =>
    new ort.Tensor('int64', BigInt64Array.from(every(make)), [rows, time])
  const feeds = {
    input_ids: new ort.Tensor('int64', batch.tensors.ids.data as BigInt64Array, [rows, time]),
    attention_mask: wide((r, i) => (BigInt(i) < lengths[r] ? 1n : 0n)),
    token_type_ids: wide(() => 0n),
  }
  const [a, b] = [await served.run(feedsOf(batch, ['ids', 'lengths'])), await portable.run(feeds)]
  near(b.logits.data as Float32Array, a.logits.data as Float32Array)
  const { logits } = await portable.run({ ...feeds, token_type_ids: wide((_, i) => (i > 2 ? 1n : 0n)) })
  assert.ok(
    (logits.data as Float32Array).some((value, i) => Math.abs(value - Number(a.logits.data[i])) > 1e-3),
    'types count',
  )
})

test('contrastive loss: texts are drawn to their own neighbours, whose cosines the served graph agrees with', async () => {
  const head = { task: 'feature-extraction', pooling: 'mean', unit: true } as const
  const options = { optimizer: 'adamw', weightDecay: 0, clipNorm: 0, seed: 1, threads: 1, batchSize: 4 } as const
  const session = await TrainingSession.create(learn(small, head), options)
  session.restore(start, 0)
  const sides = 3
  const ids = Array.from({ length: rows * sides * time }, (_, i) => 4 + ((i * 11) % 36))
  const lengths = Array.from({ length: rows * sides }, (_, i) => 3 + (i % 5))
  const batch: Batch = {
    tensors: { ids: big([rows, sides, time], ids), lengths: big([rows, sides], lengths) },
    rows,
    sizes: { sides, time },
  }
  const first = await session.train(batch, 0)
  const model = await ort.InferenceSession.create(writeModel(encoderModel(small, head, start)), { logSeverityLevel: 3 })
  const feeds = {
    ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [rows * sides, time]),
    lengths: new ort.Tensor('int64', BigInt64Array.from(lengths, BigInt), [rows * sides]),
  }
  const vectors = (await model.run(feeds)).embeddings.data as Float32Array
  const vector = (row: number, side: number) =>
    vectors.subarray((row * sides + side) * small.width, (row * sides + side + 1) * small.width)
  const cosine = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0)
  let loss = 0
  for (let row = 0; row < rows; row++) {
    assert.ok(Math.abs(Math.hypot(...vector(row, 0)) - 1) < 1e-5)
    const scores = [1, 2].flatMap((side) =>
      Array.from({ length: rows }, (_, other) => 20 * cosine(vector(row, 0), vector(other, side))),
    )
    loss += (Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - scores[row]) / rows
  }
  assert.ok(Math.abs(loss - first.loss) <= 1e-4 * loss, `${first.loss}, by hand ${loss}`)
  for (let step = 0; step < 12; step++) await session.train(batch, 1e-2)
  assert.ok((await session.train(batch, 0)).loss < first.loss / 2)
  await session.close()
})

function near(actual: Float32Array, expected: Float32Array) {
  assert.equal(actual.length, expected.length)
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) <= 1e-5, `${value} and ${expected[i]} differ`)
  })
}
