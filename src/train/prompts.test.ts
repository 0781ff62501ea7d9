import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PreparedCorpus } from '../data/corpus/prepare.ts'
import { promptsOf } from './tasks/text-generation.ts'

const END = 99
/** What was said to the model, which is not learnt: such tokens stand as -1 - id. */
const given = (...ids: number[]) => ids.map((id) => -1 - id)
const corpus = (kind: PreparedCorpus['kind'], rows: number[][]) => {
  const part = { rows: { rows: rows.length, ids: (row: number) => Int32Array.from(rows[row]) } }
  return { kind, validation: part, config: { end: [END] } } as unknown as PreparedCorpus
}
const prompts = (...args: Parameters<typeof promptsOf>) => [...promptsOf(...args)].map(({ ids }) => Array.from(ids))

test('the prompts of a conversation are all that stands before each answer', () => {
  const talk = [...given(5, 6), 7, 8, ...given(9), 10, END]
  assert.deepEqual(prompts(corpus('chat', [talk, given(1, 2), [3, 4]]), false), [
    [5, 6],
    [5, 6, 7, 8, 9],
  ])
})

test('running text has no prompts, unless each text is given as one: then without its end', () => {
  const texts = corpus('text', [
    [1, 2, END],
    [3, 4],
  ])
  assert.deepEqual(prompts(texts, false), [])
  assert.deepEqual(prompts(texts, true), [
    [1, 2],
    [3, 4],
  ])
})
