import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import { madeClassifier, sentences } from '../testing/classifiers.ts'
import { subjectOf } from '../testing/refining.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { ownClassifier } from './prune/classifier.ts'
import { encoderNetwork } from './prune/encoder.ts'
import type { Prunable } from './prune/network.ts'
import type { Subject } from './subject.ts'
import { teacherOf } from './teacher.ts'

const texts = sentences(40).map(({ text }) => text)

const teachers: Record<string, () => Promise<Prunable>> = {
  transformer: async () =>
    ownClassifier(await madeClassifier('transformer', { width: 16, layers: 4, heads: 2, inner: 32, headSize: 8 })),
  'a classifier by an encoder': async () => {
    const head = { task: 'text-classification', classes: 2 } as const
    const encoder = tinyEncoder(texts, head, { labels: ['bad', 'good'], sizes: { layers: 4 } })
    return encoderNetwork(subjectOf(bundleEncoder(encoder)))
  },
}

const statesOf = async (subject: Subject, layers: number, of: readonly string[] = texts) => {
  const teacher = await teacherOf(subject, { temperature: 1, share: 1, states: { weight: 1, layers } }, 1)
  return (await teacher.answers(of)).states!
}

for (const [name, made] of Object.entries(teachers)) {
  test(`${name}: two layers learn of the second and the last, as a teacher that ends there gives them`, async () => {
    const prunable = await made()
    const { sizes, weights } = prunable.whole
    const whole = prunable.rebuilt(prunable.whole)
    const half = prunable.rebuilt({ sizes: { ...sizes, layers: 2 }, weights })
    const [all, first] = [await statesOf(whole, 2), await statesOf(half, 1)]
    const width = first.length / texts.length
    assert.equal(all.length, 2 * first.length)
    texts.forEach((_, row) => {
      for (let i = 0; i < width; i++) {
        const [a, b] = [all[2 * row * width + i], first[row * width + i]]
        assert.ok(Math.abs(a - b) < 1e-5, `${a} and ${b}`)
      }
    })
    // what fills a batch up does not count
    const alone = await statesOf(whole, 2, texts.slice(5, 6))
    alone.forEach((value, i) => {
      assert.ok(Math.abs(value - all[10 * width + i]) < 1e-4)
    })
  })
}

test('a teacher without layers has no such states', async () => {
  const subject = await madeClassifier('textcnn', { width: 8, filters: 8 })
  await assert.rejects(statesOf(subject, 2), { code: 'UNSUPPORTED' })
})
