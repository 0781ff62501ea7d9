import assert from 'node:assert/strict'
import { test } from 'node:test'
import { behind, rankAlike, wants } from './standing.ts'

test('trainings are compared at the share of their epochs that all have reached', () => {
  const fast = { trial: 1, epochs: 4, planned: 4, scores: [0.7, 0.8, 0.85, 0.9] }
  const slow = { trial: 2, epochs: 2, planned: 8, scores: [0.72, 0.75] }
  const last = { trial: 3, epochs: 3, planned: 8, scores: [0.5, 0.6, 0.99] }
  const ranked = rankAlike([fast, slow, last], 'higher').map(({ trial, score }) => [trial.trial, score])
  assert.deepEqual(ranked, [
    [2, 0.75],
    [1, 0.7],
    [3, 0.6],
  ])
  const losses = rankAlike(
    [
      { trial: 1, epochs: 1, scores: [0.5] },
      { trial: 2, epochs: 1, scores: [0.4] },
    ],
    'lower',
  )
  assert.equal(losses[0].trial.trial, 2)
})

test('those are given up that cannot end in time; one without an epoch is not, and wants all there is', () => {
  const best = { trial: 1, epochs: 1, planned: 4, minutes: 1, scores: [0.9] } // wants three minutes
  const next = { trial: 2, epochs: 2, planned: 4, minutes: 1, scores: [0.6, 0.7] } // one
  const last = { trial: 3, epochs: 1, planned: 2, minutes: 1, scores: [0.5] } // one
  const unknown = { trial: 4, epochs: 0, planned: 4, minutes: 1, scores: [] }
  const all = [unknown, last, next, best]
  const gone = (minutes: number) => behind(all, 'higher', 60_000 * minutes).map(({ trial }) => trial)
  assert.deepEqual(gone(5), [])
  assert.deepEqual(gone(4), [3])
  assert.deepEqual(gone(1), [2, 3], 'the best stays, whatever it wants')
  assert.equal(wants(best), 180_000)
  assert.equal(wants(unknown), Number.POSITIVE_INFINITY)
})
