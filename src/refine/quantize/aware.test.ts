import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeChannels, reachOf } from '../../autograd/fake-quantize.ts'
import { buildImported, exportImported, openImported } from '../../autograd/imported.ts'
import { gradientName, trainingGraph } from '../../autograd/training.ts'
import { openSession, toOrt } from '../../engine/session.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import { writeModel } from '../../graph/codec.ts'
import { Edit } from '../../graph/edit.ts'
import * as o from '../../graph/ops.ts'
import { WEIGHTS } from '../../graph/stored.ts'
import { float32 } from '../../graph/tensor.ts'
import { classifierInputs } from '../../nn/families.ts'
import { inferenceNetwork } from '../../nn/inference.ts'
import { madeClassifier, noTraining } from '../../testing/classifiers.ts'
import { initialWeights } from '../../train/graph.ts'
import { resolveOptions } from '../../train/options.ts'
import { difference, runOn } from '../compare.ts'
import { feedsFor } from '../inputs.ts'
import { withModel } from '../subject.ts'
import { clippedTo, type Rounding, roundedLayers } from './aware.ts'
import { layersOf } from './layers.ts'
import { quantize } from './quantize.ts'

const schemes: Record<string, Rounding> = {
  int8: { activations: true, weights: { limit: 127 }, learned: false },
  int4: { activations: false, weights: { block: 16, bits: 4 }, learned: false },
  'int8 that reaches to 0.7': { activations: true, weights: { limit: 127 }, learned: true },
  'int4 that reaches to 0.7': { activations: false, weights: { block: 16, bits: 4 }, learned: true },
}
const REACH = -0.015 // learnt 20 times as fast
const families = {
  transformer: { width: 32, layers: 2, heads: 2, inner: 64 },
  textcnn: { width: 32, filters: 32 },
  lstm: { width: 32, hidden: 32 },
} as const

for (const [family, options] of Object.entries(families)) {
  for (const [name, rounding] of Object.entries(schemes)) {
    if (rounding.learned && family !== 'transformer') continue // tables keep their reach
    const [scheme] = name.split(' ')
    test(`${family}: the graph that is trained for ${name} says what the quantized one will say`, async (t) => {
      const subject = await madeClassifier(family as keyof typeof families, options as Record<string, number>)
      const heldIn = subject.samples.slice(0, 32)
      const imported = openImported(subject.model, { trainable: WEIGHTS, output: 'probabilities', logits: true })
      assert.ok([...imported.trained.keys()].every((name) => !name.includes('constant')))
      const kinds = new Set(scheme === 'int8' ? ['matmul', 'gemm', 'lstm', 'gather'] : ['matmul', 'gemm', 'gather'])
      const layers = layersOf(new Edit(subject.model)).filter(({ kind }) => kinds.has(kind))
      const around = roundedLayers(layers, rounding)
      const { parameters } = trainingGraph((network) => {
        const logits = buildImported(network, imported, classifierInputs(network.graph), around)
        return o.within(network.graph, () => ({ loss: o.reduceMean(logits), correct: o.sizeOf(logits) }))
      })
      const reaches = parameters.filter(({ name }) => name.includes('.reach.'))
      assert.equal(reaches.length > 0, rounding.learned)
      const weights = {
        ...initialWeights(imported),
        ...Object.fromEntries(
          reaches.map(({ name, dims }) => {
            const length = dims.reduce((a, b) => a * b, 1)
            return [name, { dims, data: new Float32Array(length).fill(REACH) }]
          }),
        ),
      }
      const graph = new GraphBuilder()
      const inputs = classifierInputs(graph)
      graph.output(buildImported(inferenceNetwork(graph, weights), imported, { ...inputs }, around), 'logits')
      const clipped = withModel(subject, exportImported(imported, clippedTo(subject.model, layers, weights), false))
      const context = { heldIn, threads: 1, folder: '', stop: new AbortController().signal, training: noTraining }
      const quantized = async (range: string) => {
        const given = resolveOptions(quantize.options, { scheme, leave: 0, block: 16, range })
        const { value } = await quantize.apply(clipped, given, context).next()
        assert.ok(value && 'subject' in value)
        return value.subject.model
      }
      const feeds = await feedsFor(subject, heldIn)
      const [float, fake, real] = await Promise.all(
        [clipped.model, graph.build(), await quantized('full')].map((model) => runOn(model, feeds, 1)),
      )
      const rounded = difference(float, real).error
      if (scheme === 'int8') {
        const { error } = difference(float, await runOn(await quantized('reduced'), feeds, 1))
        if (rounded > 2 * error) return t.skip('products of eight bits overflow on this processor')
      }
      // LSTMs round what goes into them as well, which is not learnt with
      const share = family === 'lstm' && scheme === 'int8' ? 0.95 : 0.15
      assert.ok(difference(fake, real).error < share * rounded, `${difference(fake, real).error} of ${rounded}`)
    })
  }
}

test('the step of a group learns by what Esser et al. (2020) give for each number, those beyond its reach are left alone', async () => {
  const [w, dy, limit] = [[0.31, -0.9, 0.2, 1, -0.52, 0.07], [1, 2, -1, 3, 0.5, -2], 7]
  const { model } = trainingGraph((network) => {
    const weight = network.parameter('w', [1, 6], { kind: 'zeros' })
    const learnt = network.parameter('reach', [1, 1], { kind: 'zeros' })
    return o.within(network.graph, () => {
      const y = fakeChannels(weight, [1], limit, learnt)
      return { loss: o.reduceSum(o.mul(y, o.constant(y, float32([1, 6], dy)))), correct: o.sizeOf(y) }
    })
  })
  const session = await openSession(writeModel(model), 1)
  const feeds = { w: float32([1, 6], w), reach: float32([1, 1], [REACH]), share: float32([], [1]) }
  const outputs = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, one]) => [name, toOrt(one)])))
  const scale = reachOf(REACH) / limit // the largest is 1
  const [inside, step] = [(v: number) => Math.abs(v) <= 0.7, (v: number) => v / scale]
  const each = w.map((v) => (inside(v) ? Math.round(step(v)) - step(v) : Math.sign(v) * limit))
  const expected = (each.reduce((sum, v, i) => sum + v * dy[i], 0) / Math.sqrt(6 * limit)) * (20 / limit)
  const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-4 * Math.max(1, Math.abs(b)), `${a} and ${b}`)
  near(Number(outputs[gradientName('reach')].data[0]), expected)
  w.forEach((v, i) => {
    near(Number(outputs[gradientName('w')].data[i]), inside(v) ? dy[i] : 0)
  })
  await session.release()
})
