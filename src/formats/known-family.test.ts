import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AthanorError, fail } from '../base/errors.ts'
import { madeClassifier } from '../testing/classifiers.ts'
import { kerasNetwork } from './keras/families.ts'
import { knownFamily } from './known-family.ts'

test('convolutions with phrases are known again by their weights, to be trained further; as layers they are refused', async () => {
  const made = await madeClassifier('wide', { filters: 6, narrowest: 2, windows: 2, bagWidth: 4, buckets: 50 })
  // what was asked for at first does not matter: the weights tell
  const manifest = { ...made.manifest, lineage: { code: 'test', options: { ngrams: 2, buckets: 50, filters: 100 } } }
  const refuse = (why: string) => fail('UNSUPPORTED', { what: 'it', instead: why })
  const known = knownFamily(made.model, manifest, refuse)
  const { filters, narrowest, windows, bagWidth } = known.config
  assert.deepEqual({ filters, narrowest, windows, bagWidth }, { filters: 6, narrowest: 2, windows: 2, bagWidth: 4 })
  assert.ok(known.weights.has('phrases/rarity'))
  assert.throws(
    () => kerasNetwork('wide', known, 'keras'),
    (error) => error instanceof AthanorError && error.code === 'UNSUPPORTED' && error.hint.includes('textcnn'),
  )
})
