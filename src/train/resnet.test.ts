import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { gradientName, trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import { imageInference, pixelsInput } from '../nn/images.ts'
import { classifierLoss } from '../nn/losses.ts'
import { resnet } from '../nn/resnet.ts'
import type { Batch } from './batch.ts'
import { TrainingSession } from './session.ts'

type Layout = Parameters<typeof resnet>[3]

/** What tools/golden_resnet.py recorded from PyTorch, from weights and images that both sides compute by formula. */
const golden = JSON.parse(readFileSync(new URL('./resnet.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    layout: Layout
    channels: number
    size: number
    optimizer: 'adamw' | 'sgd'
    rate: number
    parameters: Record<string, number[]>
    gradients: Record<string, [along: number, norm: number]>
    losses: number[]
    running: Record<string, number>
    logits: number[]
  }[]
}
const [classes, rows] = [3, 6]

/** `layer1.0.bn1.weight` → `layer1.0/bn1/weight`; `downsample.0` is one name. */
const ours = (name: string) =>
  name.replace(/\.(weight|bias|running_mean|running_var)$/, '/$1').replace(/^(layer\d+\.\d+)\./, '$1/')

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

function weights(parameters: Record<string, number[]>) {
  const made = Object.entries(parameters).map(([name, dims], k) => {
    const centre = dims.length === 1 && name.endsWith('weight') ? 1 : 0
    const data = Float32Array.from({ length: product(dims) }, (_, i) => centre + Math.sin(i * 0.7 + k) * 0.3)
    return [ours(name), { dims, data }]
  })
  return Object.fromEntries(made) as Record<string, { dims: number[]; data: Float32Array }>
}

function batchAt(step: number, channels: number, size: number): Batch {
  const count = channels * size * size
  const data = Float32Array.from({ length: rows * count }, (_, at) => {
    const [r, i] = [Math.floor(at / count), at % count]
    return Math.sin(i * 0.11 * (r + 1) + step) + 0.3 * Math.cos(i * i * 0.01 + r)
  })
  const labels = BigInt64Array.from({ length: rows }, (_, r) => BigInt((r + step) % classes))
  return {
    tensors: {
      pixels: { type: 'float32', dims: [rows, channels, size, size], data },
      labels: { type: 'int64', dims: [rows], data: labels },
    },
    rows,
    sizes: {},
  }
}

const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what}: ${actual}, PyTorch ${expected}`)

for (const one of golden.cases) {
  const { layout, channels, size, optimizer, rate, parameters, gradients, losses, running, logits } = one
  test(`a residual network agrees with PyTorch: ${layout.stem}, ${optimizer}, ${losses.length} steps`, async () => {
    const graph = trainingGraph((network) => {
      const labels = network.graph.input('labels', 'int64', ['batch'])
      const pixels = pixelsInput(network.graph, { channels, height: size, width: size })
      return classifierLoss(resnet(network, pixels, classes, layout), labels)
    })
    const initial = weights(parameters)
    assert.deepEqual(
      graph.parameters.map(({ name, dims }) => [name, dims]),
      Object.entries(parameters).map(([name, dims]) => [ours(name), dims]),
      'names and shapes are those of torchvision',
    )

    const first = batchAt(0, channels, size)
    const { tensors } = first
    const statistics = graph.frozen.map(({ name, dims, init }) => {
      const data = new Float32Array(product(dims)).fill(init.kind === 'ones' ? 1 : 0)
      return [name, new ort.Tensor('float32', data, dims)]
    })
    const plain = await ort.InferenceSession.create(writeModel(graph.model), { logSeverityLevel: 3 })
    const results = await plain.run({
      ...Object.fromEntries(
        Object.entries(initial).map(([n, { dims, data }]) => [n, new ort.Tensor('float32', data, dims)]),
      ),
      ...Object.fromEntries(statistics),
      pixels: new ort.Tensor('float32', tensors.pixels.data as Float32Array, tensors.pixels.dims),
      labels: new ort.Tensor('int64', tensors.labels.data as BigInt64Array, tensors.labels.dims),
      share: new ort.Tensor('float32', Float32Array.of(1), []),
    })
    for (const [name, [along, norm]] of Object.entries(gradients)) {
      const values = results[gradientName(ours(name))].data as Float32Array
      const mark = values.reduce((sum, value, i) => sum + value * Math.sin(i + 1), 0)
      near(mark, along, 1e-5 * Math.max(1, norm), `gradient of ${name}`)
      near(Math.hypot(...values), norm, 1e-5 * Math.max(1, norm), `norm of the gradient of ${name}`)
    }

    const session = await TrainingSession.create(graph, {
      optimizer,
      weightDecay: 0,
      clipNorm: 0,
      seed: 1,
      threads: 2,
      batchSize: 64,
    })
    session.restore(initial, 0)
    for (const [step, expected] of losses.entries()) {
      const { loss } = await session.train(batchAt(step, channels, size), rate)
      near(loss, expected, 1e-4 * Math.abs(expected), `loss of step ${step + 1}`)
    }
    const trained = session.parameters()
    for (const [name, norm] of Object.entries(running))
      near(Math.hypot(...trained[ours(name)].data), norm, 1e-3 * Math.max(1, norm), name)
    await session.close()

    const served = imageInference({ channels, height: size, width: size }, trained, (network, pixels) =>
      resnet(network, pixels, classes, layout),
    )
    const inference = await ort.InferenceSession.create(writeModel(served), { logSeverityLevel: 3 })
    const last = batchAt(losses.length, channels, size).tensors.pixels
    const answer = await inference.run({ pixels: new ort.Tensor('float32', last.data as Float32Array, last.dims) })
    const values = answer.logits.data as Float32Array
    logits.forEach((expected, i) => {
      near(values[i], expected, 2e-3 * Math.max(1, Math.abs(expected)), `logit ${i} in inference`)
    })
  })
}
