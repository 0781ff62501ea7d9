import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readModel, writeModel } from '../../graph/codec.ts'
import { madeClassifier, noTraining } from '../../testing/classifiers.ts'
import { resolveOptions } from '../../train/options.ts'
import { difference, runOn } from '../compare.ts'
import { feedsFor } from '../inputs.ts'
import { quantize } from './quantize.ts'

const families = {
  lstm: { width: 32, hidden: 32, bidirectional: true },
  gru: { width: 32, hidden: 32 },
  textcnn: { width: 32, filters: 32 },
  bow: { width: 32, buckets: 500 },
  transformer: { width: 32, layers: 2, heads: 2, inner: 64 },
} as const

/** Bounds for the relative error of logits by scheme. */
const bounds = { int8: 0.05, 'int8-static': 0.08, 'int8-weights': 0.03, int4: 0.35, float16: 0.002 } as const

for (const [family, options] of Object.entries(families)) {
  test(`${family}: every scheme gives a graph that runs and says nearly the same in fewer bytes`, async () => {
    const subject = await madeClassifier(family as keyof typeof families, options as Record<string, number | boolean>)
    const heldIn = subject.samples.slice(0, 96)
    const feeds = await feedsFor(subject, heldIn)
    const reference = await runOn(subject.model, feeds, 1)
    const bytes = writeModel(subject.model).byteLength
    for (const [scheme, bound] of Object.entries(bounds)) {
      const context = { heldIn, threads: 1, folder: '', stop: new AbortController().signal, training: noTraining }
      const given = resolveOptions(quantize.options, { scheme, leave: 0 })
      const { value } = await quantize.apply(subject, given, context).next()
      assert.ok(value && 'subject' in value)
      const written = writeModel(value.subject.model)
      const said = await runOn(readModel(written), feeds, 1)
      const { error } = difference(reference, said)
      assert.ok(error > 0 && error < bound, `${scheme}: error ${error}`)
      assert.ok(written.byteLength < bytes, scheme)
    }
  })
}
