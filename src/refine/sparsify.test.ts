import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readModel, writeModel } from '../graph/codec.ts'
import { madeClassifier, noTraining } from '../testing/classifiers.ts'
import { resolveOptions } from '../train/options.ts'
import { difference, runOn } from './compare.ts'
import { feedsFor } from './inputs.ts'
import { sparsify } from './sparsify.ts'

async function sparse(options: Record<string, number | string>) {
  const subject = await madeClassifier('lstm', { width: 32, hidden: 32 })
  const feeds = await feedsFor(subject, subject.samples.slice(0, 40))
  const context = { heldIn: [], threads: 1, folder: '', stop: new AbortController().signal, training: noTraining }
  const { value } = await sparsify.apply(subject, resolveOptions(sparsify.options, options), context).next()
  assert.ok(value && 'subject' in value)
  const bytes = writeModel(value.subject.model)
  const said = await runOn(readModel(bytes), feeds, 1)
  const before = await runOn(subject.model, feeds, 1)
  return {
    note: value.note,
    ratio: bytes.byteLength / writeModel(subject.model).byteLength,
    ...difference(before, said),
  }
}

test('nine tenths of zeros: stored by their places in a file that is smaller and runs', async () => {
  const { note, ratio, error } = await sparse({ share: 0.9 })
  assert.match(
    note,
    /^90 % of \d+ weights are zero; compressed, the graph takes \d+ % of its bytes before; it is not faster$/,
  )
  assert.ok(ratio < 0.5, `ratio ${ratio}`)
  assert.ok(error > 0 && Number.isFinite(error))
})

test('two of four: half of the weights stay, in a file of the same size', async () => {
  const { note, ratio } = await sparse({ pattern: '2:4' })
  assert.match(note, /^50 % /)
  assert.ok(ratio > 0.99)
  assert.ok((await sparse({ share: 0.01 })).error < (await sparse({ share: 0.5 })).error)
  await assert.rejects(sparse({ pattern: '4:2' }), { code: 'OPTION_INVALID' })
})
