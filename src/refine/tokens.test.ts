import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import { madeClassifier, sentences } from '../testing/classifiers.ts'
import { subjectOf } from '../testing/refining.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { pipelineOf } from './inputs.ts'
import type { Subject } from './subject.ts'
import { teacherOf } from './teacher.ts'
import { readAlone, tokenTable } from './tokens.ts'

const texts = sentences(40).map(({ text }) => text)
const words = ['sun', 'rain', 'w1', 'w7']

const encoder = () =>
  subjectOf(bundleEncoder(tinyEncoder(texts, { task: 'text-classification', classes: 2 }, { labels: ['bad', 'good'] })))
const teachers: Record<string, () => Promise<Subject>> = {
  'a classifier by an encoder': async () => encoder(),
  transformer: () => madeClassifier('transformer', { width: 16, layers: 2, heads: 2, inner: 32, headSize: 8 }),
}

for (const [name, made] of Object.entries(teachers)) {
  test(`${name}: a token alone is what the teacher makes of a text of that word`, async () => {
    const subject = await made()
    const pipeline = pipelineOf(subject)
    const tables = await readAlone(subject, pipeline.vocabularySize, 1)
    assert.equal(tables.length, 2)
    const teacher = await teacherOf(subject, { temperature: 1, share: 1, hidden: 1 }, 1)
    const { width, data } = tables[1]
    const { vectors } = await teacher.answers(words)
    const framed = subject.manifest.pipeline?.tokenizer === 'published'
    for (const [row, ids] of (await pipeline.encode(words)).entries()) {
      const token = ids[framed ? 1 : 0]
      for (let i = 0; i < width; i++)
        assert.ok(Math.abs(data[token * width + i] - vectors![row * width + i]) < 1e-5, `${words[row]}, ${i}`)
    }
    const table = (await tokenTable(subject, 8, 1))!
    assert.deepEqual(table.dims, [pipeline.vocabularySize, 8])
    const squares = table.data.reduce((sum, value) => sum + value * value, 0)
    assert.ok(Math.abs(Math.sqrt(squares / table.data.length) - 0.4) < 1e-3)
  })
}

test('a teacher that is no Transformer gives its own table, in fewer numbers; none where it has fewer', async () => {
  const subject = await madeClassifier('lstm', { width: 12, hidden: 4 })
  const { vocabularySize } = pipelineOf(subject)
  assert.deepEqual(await readAlone(subject, vocabularySize, 1), [])
  assert.deepEqual((await tokenTable(subject, 8, 1))?.dims, [vocabularySize, 8])
  assert.equal(await tokenTable(subject, 16, 1), undefined)
})
