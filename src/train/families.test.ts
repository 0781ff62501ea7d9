import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import { classifierInputs, families, inferenceGraph } from '../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../nn/family.ts'
import { classifierLoss } from '../nn/losses.ts'
import { feedsOf } from './assemble.ts'
import type { Batch } from './batch.ts'
import { TrainingSession } from './session.ts'

/** What tools/golden.py recorded from PyTorch, from weights and data that both sides compute by formula. */
const golden = JSON.parse(readFileSync(new URL('./families.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    family: keyof typeof families
    options: Record<string, number | string | boolean>
    optimizer: 'adamw' | 'sgd'
    clip: number
    decay: number
    parameters: Record<string, number[]>
    steps: { loss: number; gradientNorm: number }[]
  }[]
}
const [vocabulary, classes, rows, time] = [50, 3, 6, 9]

const trainable = (family: TextFamily, config: ClassifierConfig) =>
  trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const labels = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, config), labels)
  })

function batchAt(step: number): Batch {
  const lengths = Array.from({ length: rows }, (_, r) => time - ((r * 2 + step) % 9))
  const ids = lengths.flatMap((length, r) =>
    Array.from({ length: time }, (_, t) => (t < length ? 1 + ((r * 7 + t * 3 + step * 5) % (vocabulary - 1)) : 0)),
  )
  const labels = lengths.map((_, r) => (r + step) % classes)
  return batchOf({ ids: big(ids), lengths: big(lengths), labels: big(labels) }, time)
}
function batchOf({ ids, lengths, labels }: Record<'ids' | 'lengths' | 'labels', BigInt64Array>, time: number): Batch {
  const rows = lengths.length
  const tensor = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const
  const tensors = { ids: tensor([rows, time], ids), lengths: tensor([rows], lengths), labels: tensor([rows], labels) }
  return { tensors, rows, sizes: { time } }
}
const big = (values: number[]) => BigInt64Array.from(values, BigInt)

/** The formula's weights: a wave around 1 for scales and around 0 for the rest. */
function weights(parameters: Record<string, number[]>) {
  const fill = (name: string, dims: number[], k: number) => {
    const [centre, scale] = [name.endsWith('scale') ? 1 : 0, name.startsWith('embedding') ? 0.5 : 0.3]
    const length = dims.reduce((a, b) => a * b, 1)
    return { dims, data: Float32Array.from({ length }, (_, i) => centre + Math.sin(i * 0.7 + k) * scale) }
  }
  return Object.fromEntries(Object.entries(parameters).map(([name, dims], k) => [name, fill(name, dims, k)]))
}

for (const { family, options, optimizer, clip, decay, parameters, steps } of golden.cases) {
  test(`${family}: ten steps agree with PyTorch (${optimizer}, ${Object.values(options).join(' ')})`, async () => {
    const config = { vocabulary, classes, ...options, dropout: 0 }
    const graph = trainable(families[family] as TextFamily, config)
    assert.deepEqual(
      graph.parameters.map(({ name, dims }) => [name, dims]),
      Object.entries(parameters),
    )
    for (const threads of [1, 2]) {
      const session = await TrainingSession.create(graph, {
        optimizer,
        weightDecay: decay,
        clipNorm: clip,
        seed: 1,
        threads,
        batchSize: 8 * threads,
      })
      session.restore(weights(parameters), 0)
      for (const [i, expected] of steps.entries()) {
        const { loss, gradientNorm } = await session.train(batchAt(i), optimizer === 'sgd' ? 0.1 : 0.01)
        const within = (tolerance: number, value: number, torch: number, what: string) =>
          assert.ok(Math.abs(value - torch) <= tolerance * torch, `step ${i + 1}: ${what} ${value}, PyTorch ${torch}`)
        within(1e-5, loss, expected.loss, 'loss')
        within(1e-4, gradientNorm, expected.gradientNorm, 'norm')
      }
      await session.close()
    }
  })
}

for (const { family: name, options } of golden.cases) {
  test(`${name}: the served graph equals the trained one, and padding changes nothing (${Object.values(options).join(' ')})`, async () => {
    const family: TextFamily = families[name] as TextFamily
    const config = { vocabulary, classes, ...options, dropout: 0.3 }
    const session = await TrainingSession.create(trainable(family, config), {
      optimizer: 'adamw',
      weightDecay: 0.01,
      clipNorm: 1,
      seed: 3,
      threads: 1,
      batchSize: rows,
    })
    await session.train(batchAt(0), 0.01)
    const trained = session.parameters()
    await session.close()
    const model = inferenceGraph(family, config, trained)
    assert.deepEqual(
      model.opsetImport.map(({ domain }) => domain),
      [''],
      'standard ONNX only',
    )
    const served = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })

    // the training graph's own forward pass, dropout switched off, as a model of parameters and inputs
    const forward = new GraphBuilder()
    const inputs = classifierInputs(forward)
    const network = (path: string): Parameters<typeof family.build>[0] => ({
      graph: path ? forward.scope(path.slice(0, -1)) : forward,
      training: true,
      scope: (part) => network(`${path}${part}/`),
      parameter: (part, dims) =>
        forward.initializer(path + part, { dtype: 'float32', dims, data: trained[path + part].data }),
      dropout: (x) => x,
    })
    forward.output(family.build(network(''), inputs.ids, inputs.lengths, config), 'logits')
    const reference = await ort.InferenceSession.create(writeModel(forward.build()), { logSeverityLevel: 3 })

    const batch = batchAt(2)
    const logitsOf = async (session: ort.InferenceSession, given: Batch) =>
      (await session.run(feedsOf(given, ['ids', 'lengths']))).logits.data as Float32Array
    const expected = await logitsOf(reference, batch)
    near(await logitsOf(served, batch), expected)
    // whatever stands after a text's end
    const [cut, lengths, labels] = ['ids', 'lengths', 'labels'].map((name) => batch.tensors[name].data as BigInt64Array)
    const noisy = cut.map((id, i) => (i % time < Number(lengths[Math.floor(i / time)]) ? id : 7n))
    near(await logitsOf(served, batchOf({ ids: noisy, lengths, labels }, time)), expected)
    for (let row = 0; row < rows; row++) {
      const length = Number(lengths[row])
      const one = (all: BigInt64Array) => all.slice(row, row + 1)
      const alone = { ids: cut.slice(row * time, row * time + length), lengths: one(lengths), labels: one(labels) }
      const logits = await logitsOf(served, batchOf(alone, length))
      near(logits, expected.slice(row * classes, (row + 1) * classes))
    }
  })
}

function near(actual: Float32Array, expected: Float32Array) {
  assert.equal(actual.length, expected.length)
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) <= 1e-5, `${value} and ${expected[i]} differ`)
  })
}
