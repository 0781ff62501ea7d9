import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Steps } from './steps.ts'

const cycle = () => new Promise((resolve) => setImmediate(resolve))

test('texts take their steps together, and one that comes later is in the next', async () => {
  const steps = new Steps(512)
  const said: string[] = []
  const text = async (name: string, count: number) => {
    for (let i = 0; i < count; i++) {
      await steps.turn(1)
      said.push(name)
      if (name === 'slow') await cycle()
      steps.over()
    }
  }
  const both = [text('quick', 3), text('slow', 3)]
  await cycle()
  await Promise.all([...both, text('late', 2)])
  const step = (at: number, length: number) => said.slice(at, at + length).sort()
  assert.deepEqual(step(0, 2), ['quick', 'slow'])
  assert.deepEqual(step(2, 3), ['late', 'quick', 'slow'])
  assert.deepEqual(step(5, 3), ['late', 'quick', 'slow'])
})

test('beginnings share what a step has room for, and no text is without a token', async () => {
  const steps = new Steps(8)
  const granted = await Promise.all([steps.turn(100), steps.turn(1), steps.turn(3)])
  assert.deepEqual(granted, [5, 1, 2])
  const more = Array.from({ length: 20 }, () => steps.turn(2))
  for (let i = 0; i < 3; i++) steps.over()
  assert.deepEqual(await Promise.all(more.slice(0, 8)), Array(8).fill(1))
})
