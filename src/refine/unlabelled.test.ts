import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { madeClassifier, noTraining } from '../testing/classifiers.ts'
import { labelledBy } from './unlabelled.ts'

test('rows without a label get the teacher’s answer, others keep theirs, labels that it does not know are left out', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-unlabelled-'))
  try {
    const subject = await madeClassifier('bow', { width: 8, buckets: 50 })
    const write = (name: string, rows: string) => {
      writeFileSync(join(folder, name), `text,label\n${rows}`)
      return { path: join(folder, name), name }
    }
    const teacher = {
      temperature: 1,
      share: 1,
      hidden: 0,
      answers: async (texts: readonly string[]) => ({
        probabilities: Float32Array.from(texts.flatMap((text) => (text.includes('sun') ? [0.1, 0.9] : [0.8, 0.2]))),
      }),
    }
    const context = { heldIn: [], threads: 1, folder, stop: new AbortController().signal }
    const data = write('some.csv', 'sun one,\nrain two,good\nrain three,\nsnow,strange\n')
    const { data: filled, filled: count } = await labelledBy(teacher, subject, {
      ...context,
      training: { ...noTraining, data },
    })
    assert.equal(count, 2)
    const rows = readFileSync(filled!.path, 'utf8').trim().split('\n')
    assert.deepEqual(
      rows.map((row) => JSON.parse(row)),
      [
        { text: 'sun one', label: 'good' },
        { text: 'rain two', label: 'good' },
        { text: 'rain three', label: 'bad' },
      ],
    )
    const all = write('all.csv', 'sun one,good\nrain two,bad\n')
    const untouched = await labelledBy(teacher, subject, { ...context, training: { ...noTraining, data: all } })
    assert.deepEqual(untouched, { data: all, filled: 0, invented: 0 })

    const texts = Array.from({ length: 20 }, (_, i) => `${i % 2 === 0 ? 'sun' : 'rain'} ${i}`)
    const more = write('more.csv', texts.map((text) => `${text},good\n`).join(''))
    const invent = (text: string) => (text.endsWith('7') ? undefined : `made of ${text}`)
    const made = await labelledBy(
      teacher,
      subject,
      { ...context, training: { ...noTraining, data: more } },
      { times: 2, invent },
    )
    const linesOf = (path: string) =>
      readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((row) => JSON.parse(row) as { text: string; label: string })
    const choosing = linesOf(made.validation!.path)
    assert.deepEqual(
      choosing.map((row) => row.text),
      ['sun 0', 'sun 10'],
    )
    const learnt = linesOf(made.data!.path)
    assert.equal(made.invented, 32)
    assert.equal(learnt.length, 18 + 32)
    assert.ok(!learnt.some(({ text }) => text.endsWith('sun 0') || text.endsWith('sun 10')))
    for (const { text, label } of learnt) assert.equal(label, text.startsWith('made of rain') ? 'bad' : 'good', text)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
