import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rankAlike } from './standing.ts'

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
