import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildImported, openImported } from '../../autograd/imported.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import { Edit } from '../../graph/edit.ts'
import { WEIGHTS } from '../../graph/stored.ts'
import { classifierInputs } from '../../nn/families.ts'
import { inferenceNetwork } from '../../nn/inference.ts'
import { madeClassifier, noTraining } from '../../testing/classifiers.ts'
import { initialWeights } from '../../train/graph.ts'
import { resolveOptions } from '../../train/options.ts'
import { difference, runOn } from '../compare.ts'
import { feedsFor } from '../inputs.ts'
import { type Rounding, roundedLayers } from './aware.ts'
import { layersOf } from './layers.ts'
import { quantize } from './quantize.ts'

const schemes: Record<string, Rounding> = {
  int8: { activations: true, weights: { limit: 127 } },
  int4: { activations: false, weights: { block: 16, bits: 4 } },
}
const families = {
  transformer: { width: 32, layers: 2, heads: 2, inner: 64 },
  textcnn: { width: 32, filters: 32 },
  lstm: { width: 32, hidden: 32 },
} as const

for (const [family, options] of Object.entries(families)) {
  for (const [scheme, rounding] of Object.entries(schemes)) {
    test(`${family}: the graph that is trained for ${scheme} says what the quantized one will say`, async () => {
      const subject = await madeClassifier(family as keyof typeof families, options as Record<string, number>)
      const heldIn = subject.samples.slice(0, 32)
      const imported = openImported(subject.model, { trainable: WEIGHTS, output: 'probabilities', logits: true })
      assert.ok([...imported.trained.keys()].every((name) => !name.includes('constant')))
      const kinds = new Set(scheme === 'int8' ? ['matmul', 'gemm', 'lstm', 'gather'] : ['matmul', 'gemm', 'gather'])
      const layers = layersOf(new Edit(subject.model)).filter(({ kind }) => kinds.has(kind))
      const graph = new GraphBuilder()
      const { ids, lengths } = classifierInputs(graph)
      const network = inferenceNetwork(graph, initialWeights(imported))
      graph.output(buildImported(network, imported, { ids, lengths }, roundedLayers(layers, rounding)), 'logits')
      const context = { heldIn, threads: 1, folder: '', stop: new AbortController().signal, training: noTraining }
      const given = resolveOptions(quantize.options, { scheme, leave: 0, block: 16, range: 'full' })
      const { value } = await quantize.apply(subject, given, context).next()
      assert.ok(value && 'subject' in value)
      const feeds = await feedsFor(subject, heldIn)
      const [float, fake, real] = await Promise.all(
        [subject.model, graph.build(), value.subject.model].map((model) => runOn(model, feeds, 1)),
      )
      const rounded = difference(float, real).error
      // LSTMs round what goes into them as well, which is not learnt with
      const share = family === 'lstm' && scheme === 'int8' ? 0.9 : 0.15
      assert.ok(difference(fake, real).error < share * rounded, `${difference(fake, real).error} of ${rounded}`)
    })
  }
}
