import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import ort from 'onnxruntime-node'
import { trainingGraph } from '../autograd/training.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import { classifierInputs, classifierLoss, families, inferenceGraph } from '../nn/families.ts'
import { type Batch, batchTensors, TrainingSession } from './session.ts'

/** What tools/golden-lstm.py recorded from PyTorch, from weights and data that both sides compute by formula. */
const golden = JSON.parse(readFileSync(new URL('./lstm.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    optimizer: 'adamw' | 'sgd'
    bidirectional: boolean
    pooling: string
    clip: number
    decay: number
    steps: { loss: number; gradientNorm: number }[]
  }[]
}
const [vocabulary, width, hidden, classes, rows, time] = [50, 12, 10, 3, 6, 9]

const family = families.lstm
const buildWith = (config: Parameters<typeof family.build>[3]) =>
  trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const labels = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, config), labels)
  })

function batchAt(step: number): Batch {
  const lengths = Array.from({ length: rows }, (_, r) => time - ((r + step) % 5))
  const ids = lengths.flatMap((length, r) =>
    Array.from({ length: time }, (_, t) => (t < length ? 1 + ((r * 7 + t * 3 + step * 5) % (vocabulary - 1)) : 0)),
  )
  const labels = lengths.map((_, r) => (r + step) % classes)
  return { ids: big(ids), lengths: big(lengths), labels: big(labels), rows, time }
}
const big = (values: number[]) => BigInt64Array.from(values, BigInt)

const wave = (length: number, k: number, scale: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7 + k) * scale)

/** The formula's weights in ONNX's layout. */
function weights(bidirectional: boolean) {
  const directions = bidirectional ? [0, 1] : [0]
  const join = (parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]))
  const n = 4 * hidden
  return {
    'embedding/weight': { dims: [vocabulary, width], data: wave(vocabulary * width, 0, 0.5) },
    'lstm.0/W': {
      dims: [directions.length, n, width],
      data: join(directions.map((d) => wave(n * width, 10 * d + 1, 0.3))),
    },
    'lstm.0/R': {
      dims: [directions.length, n, hidden],
      data: join(directions.map((d) => wave(n * hidden, 10 * d + 2, 0.3))),
    },
    'lstm.0/B': {
      dims: [directions.length, 2 * n],
      data: join(directions.flatMap((d) => [wave(n, 10 * d + 3, 0.3), wave(n, 10 * d + 4, 0.3)])),
    },
    'classifier/weight': {
      dims: [classes, directions.length * hidden],
      data: wave(classes * directions.length * hidden, 5, 0.4),
    },
    'classifier/bias': { dims: [classes], data: wave(classes, 6, 0.1) },
  }
}

for (const { optimizer, bidirectional, pooling, clip, decay, steps } of golden.cases) {
  test(`ten steps agree with PyTorch: ${optimizer}, ${bidirectional ? 'two directions' : 'one direction'}, ${pooling}`, async () => {
    const config = { vocabulary, classes, width, hidden, layers: 1, bidirectional, dropout: 0, pooling }
    const options = { optimizer, weightDecay: decay, clipNorm: clip, seed: 1, threads: 1, batchSize: rows }
    const session = await TrainingSession.create(buildWith(config), options)
    session.restore(weights(bidirectional), 0)
    for (const [i, expected] of steps.entries()) {
      const { loss, gradientNorm } = await session.train(batchAt(i), optimizer === 'sgd' ? 0.1 : 0.01)
      assert.ok(Math.abs(loss - expected.loss) <= 1e-5, `step ${i + 1}: loss ${loss}, PyTorch ${expected.loss}`)
      assert.ok(
        Math.abs(gradientNorm - expected.gradientNorm) <= 1e-4,
        `step ${i + 1}: norm ${gradientNorm}, PyTorch ${expected.gradientNorm}`,
      )
    }
    await session.close()
  })
}

for (const pooling of ['last', 'mean', 'max']) {
  test(`serving with the fused LSTM equals the training graph, and padding changes nothing: ${pooling}`, async () => {
    const config = { vocabulary, classes, width, hidden, layers: 2, bidirectional: true, dropout: 0.5, pooling }
    const options = {
      optimizer: 'adamw',
      weightDecay: 0.01,
      clipNorm: 1,
      seed: 3,
      threads: 1,
      batchSize: rows,
    } as const
    const session = await TrainingSession.create(buildWith(config), options)
    await session.train(batchAt(0), 0.01)
    const trained = session.parameters()
    const served = await ort.InferenceSession.create(writeModel(inferenceGraph(family, config, trained)), {
      logSeverityLevel: 3,
    })

    // the training graph's own forward pass, dropout switched off, as a model of parameters and inputs
    const forward = new GraphBuilder()
    const { ids, lengths } = classifierInputs(forward)
    const network = (path: string): Parameters<typeof family.build>[0] => ({
      graph: path ? forward.scope(path.slice(0, -1)) : forward,
      training: true,
      scope: (name) => network(`${path}${name}/`),
      parameter: (name, dims) =>
        forward.initializer(path + name, { dtype: 'float32', dims, data: trained[path + name].data }),
      dropout: (x) => x,
    })
    forward.output(family.build(network(''), ids, lengths, config), 'logits')
    const reference = await ort.InferenceSession.create(writeModel(forward.build()), { logSeverityLevel: 3 })

    const batch = batchAt(2)
    const all = await served.run(batchTensors(batch))
    const expected = (await reference.run(batchTensors(batch))).logits.data as Float32Array
    near(all.logits.data as Float32Array, expected)
    for (let row = 0; row < rows; row++) {
      const length = Number(batch.lengths[row])
      const alone: Batch = {
        ids: batch.ids.slice(row * time, row * time + length),
        lengths: batch.lengths.slice(row, row + 1),
        labels: batch.labels.slice(row, row + 1),
        rows: 1,
        time: length,
      }
      const single = await served.run(batchTensors(alone))
      near(single.logits.data as Float32Array, expected.slice(row * classes, (row + 1) * classes))
    }
  })
}

function near(actual: Float32Array, expected: Float32Array) {
  assert.equal(actual.length, expected.length)
  actual.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) <= 1e-5, `${value} and ${expected[i]} differ`)
  })
}
