import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from '../base/random.ts'
import { madeClassifier } from '../testing/classifiers.ts'
import { inventor, wordsOf } from './invent.ts'

test('a text is made of a stretch of another, or of its words and others that the teacher takes for near', async () => {
  const subject = await madeClassifier('lstm', { width: 16, hidden: 4 })
  const known = new Set(wordsOf(Buffer.from(subject.files['tokenizer.json']).toString('utf8')).map(([word]) => word))
  assert.ok(known.has('sun') && known.has('rain'))
  const text = 'sun rain sun rain, sun rain sun rain sun!'
  const [invent, again] = [inventor(subject), inventor(subject)]
  const [next, same] = [random(7), random(7)]
  const made = Array.from({ length: 60 }, () => invent(text, next)!)
  assert.deepEqual(
    made,
    made.map(() => again(text, same)),
  )
  const stretches = made.filter((one) => text.includes(one) && one !== text)
  const others = made.filter((one) => !text.includes(one))
  assert.ok(stretches.length > 10 && others.length > 10)
  for (const stretch of stretches) assert.ok([3, 4, 5, 6].includes(stretch.match(/\w+/g)!.length), stretch)
  for (const other of others) {
    assert.equal(other.replaceAll(/\w+/g, 'x'), text.replaceAll(/\w+/g, 'x'))
    assert.ok(other.match(/\w+/g)!.every((word) => known.has(word)))
  }
  assert.equal(invent('sun and rain', next), undefined)
})

test('words of a vocabulary are those that begin as words do', () => {
  const json = (vocab: unknown) => JSON.stringify({ model: { vocab } })
  assert.deepEqual(wordsOf(json({ '[PAD]': 0, film: 1, '##ing': 2, a: 3, 片: 4 })), [['film', 1]])
  assert.deepEqual(
    wordsOf(
      json([
        ['<s>', 0],
        ['▁film', -1],
        ['ing', -2],
      ]),
    ),
    [['film', 1]],
  )
  assert.deepEqual(wordsOf(json({ Ġfilm: 5, film: 6 })), [['film', 5]])
})
