import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bundleDecoder } from '../../formats/decoders/decoder.ts'
import { bundleEncoder } from '../../formats/huggingface/bundle.ts'
import { madeClassifier, sentences } from '../../testing/classifiers.ts'
import { smallDecoder } from '../../testing/decoders.ts'
import { subjectOf } from '../../testing/refining.ts'
import { tinyEncoder } from '../../testing/tiny-encoder.ts'
import type { Weights } from '../../train/checkpoint.ts'
import { difference, runOn } from '../compare.ts'
import type { Example } from '../examples/example.ts'
import { feedsFor } from '../inputs.ts'
import type { Subject } from '../subject.ts'
import { ownClassifier } from './classifier.ts'
import { cutUnits, keepBest } from './cut.ts'
import { decoderNetwork } from './decoder.ts'
import { encoderNetwork } from './encoder.ts'
import { importance } from './importance.ts'
import { dropLayers } from './layers.ts'
import type { Prunable } from './network.ts'
import { kindsOf } from './units.ts'

const rows: Example[] = sentences(48).map(({ text, label }) => ({ text, label }))
const texts = rows.map(({ text }) => text)

const decoder = async (layout: 'gpt' | 'llama') => {
  const corpus = texts.join('\n').repeat(3)
  const stored = await smallDecoder(layout, { corpus, keyHeads: layout === 'gpt' ? 4 : 2, sizes: { layers: 3 } })
  return decoderNetwork(subjectOf(bundleDecoder(stored)))
}

const networks: Record<string, () => Promise<Prunable>> = {
  transformer: async () => {
    const sizes = { width: 32, layers: 3, heads: 4, inner: 64, headSize: 8 }
    return ownClassifier(await madeClassifier('transformer', sizes))
  },
  wide: async () =>
    ownClassifier(await madeClassifier('wide', { width: 16, filters: 16, windows: 2, bagWidth: 4, buckets: 64 })),
  'encoder of vectors': async () =>
    encoderNetwork(subjectOf(bundleEncoder(tinyEncoder(texts, undefined, { sizes: { layers: 3 } })))),
  'encoder that classifies': async () => {
    const labels = ['bad', 'good']
    return encoderNetwork(
      subjectOf(bundleEncoder(tinyEncoder(texts, { task: 'text-classification', classes: 2 }, { labels }))),
    )
  },
  gpt: () => decoder('gpt'),
  llama: () => decoder('llama'),
}

/** Weights of which every other unit of each set changes nothing: what uses its output is zero. */
function idle(prunable: Prunable): Weights {
  const weights = { ...prunable.whole.weights }
  for (const kind of kindsOf(prunable.layout)) {
    for (const { axes } of kind.sets(prunable.whole.sizes)) {
      const user = axes.find(({ axis }) => axis === 1)!
      const { dims, data } = weights[user.parameter]
      weights[user.parameter] = {
        dims,
        data: data.map((value, i) => (user.unitOf(i % dims[1])! % 2 === 0 ? 0 : value)),
      }
    }
  }
  return weights
}

const said = async (subject: Subject) => runOn(subject.model, await feedsFor(subject, rows), 1)

for (const [name, made] of Object.entries(networks)) {
  test(`${name}: units that do nothing are those that go, and nothing changes without them`, async () => {
    const prunable = await made()
    let network = { sizes: prunable.whole.sizes, weights: idle(prunable) }
    const before = prunable.rebuilt(network)
    for (const kind of kindsOf(prunable.layout)) {
      const sets = kind.sets(network.sizes)
      const left = sets[0].units / 2
      const scores = await importance(prunable, network, sets, rows, 1)
      const kept = scores.map((one) => keepBest(one, left))
      for (const units of kept)
        assert.deepEqual(
          [...units].map((unit) => unit % 2),
          Array(left).fill(1),
        )
      const sizes = { ...network.sizes, ...kind.resized?.(network.sizes, left), [kind.option]: left }
      network = { sizes, weights: cutUnits(network.weights, sets, kept) }
    }
    const after = prunable.rebuilt(network)
    assert.ok(after.manifest.parameters < before.manifest.parameters)
    const { error } = difference(await said(before), await said(after))
    assert.ok(error < 1e-5, `error ${error}`)
  })
}

test('the layer that does nothing is the one that goes', async () => {
  const prunable = await networks['encoder of vectors']()
  const value = (path: string, given: number) => {
    if (/^layer\.1\/.*\/(output|down)\//.test(path)) return 0
    // what was normalised stays as it is when it is normalised once more
    if (/^layer\.(0\/feedForward|1\/.*)\/norm\//.test(path)) return path.endsWith('scale') ? 1 : 0
    return given
  }
  const weights = Object.fromEntries(
    Object.entries(prunable.whole.weights).map(([path, { dims, data }]) => [
      path,
      { dims, data: data.map((given) => value(path, given)) },
    ]),
  )
  const whole = encoderNetwork(prunable.rebuilt({ sizes: prunable.whole.sizes, weights }))
  const { network, dropped } = await dropLayers(whole, whole.whole, 1, rows, 1)
  assert.deepEqual(dropped, [1])
  const { error } = difference(await said(whole.rebuilt(whole.whole)), await said(whole.rebuilt(network)))
  assert.ok(error < 1e-4, `error ${error}`)
})
