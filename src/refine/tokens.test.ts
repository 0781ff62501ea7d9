import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import { madeClassifier, sentences } from '../testing/classifiers.ts'
import { subjectOf } from '../testing/refining.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { pipelineOf } from './inputs.ts'
import type { Subject } from './subject.ts'
import { tokenTable } from './tokens.ts'

const teachers: Record<string, () => Promise<Subject>> = {
  'a classifier by an encoder': async () => {
    const head = { task: 'text-classification', classes: 2 } as const
    const texts = sentences(40).map(({ text }) => text)
    return subjectOf(bundleEncoder(tinyEncoder(texts, head, { labels: ['bad', 'good'] })))
  },
  transformer: () => madeClassifier('transformer', { width: 16, layers: 1, heads: 2, inner: 32, headSize: 8 }),
  lstm: () => madeClassifier('lstm', { width: 12, hidden: 4 }),
  textcnn: () => madeClassifier('textcnn', { width: 12, filters: 4 }),
}

for (const [name, made] of Object.entries(teachers)) {
  test(`${name}: its vectors of tokens in as many numbers as are asked for, none where it has fewer`, async () => {
    const subject = await made()
    assert.deepEqual(tokenTable(subject, 8)?.dims, [pipelineOf(subject).vocabularySize, 8])
    assert.equal(tokenTable(subject, 4096), undefined)
  })
}
