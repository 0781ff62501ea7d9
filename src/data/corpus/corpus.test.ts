import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ChatTemplate, chatMl } from '../chat.ts'
import { TextCodec } from '../codec.ts'
import { openCorpus } from './corpus.ts'
import { poemsOf } from './poems.ts'
import { type PreparedCorpus, prepareCorpus, type TokenPart } from './prepare.ts'
import { END, MESSAGE, MESSAGE_END, trainBytePairs, trainCharacters } from './tokenizers.ts'

const folder = mkdtempSync(join(tmpdir(), 'athanor-corpus-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
let runs = 0
const prepared = async (path: string, kind: 'bpe' | 'character' = 'character', vocabulary = 400) =>
  prepareCorpus({
    corpus: await openCorpus(path),
    tokenizer: { kind, vocabulary },
    context: 8,
    seed: 1,
    folder: join(folder, `run${runs++}`),
  })
const real = (ids: Int32Array) => Array.from(ids, (id) => (id < 0 ? -1 - id : id))
const textOf = ({ tokenizer }: PreparedCorpus, { run }: TokenPart) =>
  TextCodec.load(tokenizer).decode(real(run.read(0, run.length)))
async function* once(...texts: string[]) {
  yield* texts
}

test('byte pairs hold every byte and any text comes back as it was', async () => {
  const json = await trainBytePairs(once('the quick brown fox. the slow brown fox. 今天天气很好。\n'.repeat(20)), {
    vocabulary: 280,
    special: [END],
  })
  const codec = TextCodec.load(json)
  assert.equal(codec.size, 280)
  assert.equal(codec.special.get(END), 0)
  const ids = await codec.encode('the quick brown fox')
  assert.ok(ids.length < 12, `${ids.length} tokens`)
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 40 }), async (text) => {
      assert.equal(codec.decode(await codec.encode(text)), text)
    }),
    { numRuns: 200, seed: 3 },
  )
  assert.deepEqual(await codec.encode(`a${END}b`), [...(await codec.encode('a')), 0, ...(await codec.encode('b'))])
})

test('characters: one token each, rare ones unknown', async () => {
  const json = await trainCharacters(once('aaabbc\n'), { vocabulary: 5, special: [END] })
  const codec = TextCodec.load(json)
  const [end, unknown] = [codec.special.get(END), codec.special.get('[UNK]')]
  assert.deepEqual([end, unknown], [0, 1])
  assert.deepEqual(
    await codec.encode('abc\n🙂'),
    [2, 3, 1, 4, 1].map((id, i) => (i === 2 ? 1 : i === 3 ? 4 : id)),
  )
})

test('a running text: its end is held out, and no token is lost', async () => {
  const text = Array.from({ length: 3000 }, (_, i) => `line ${i} 好${i % 7 ? '' : '🙂'}\n`).join('')
  const data = await prepared(file('book.txt', text))
  assert.equal(data.report.splitBy, 'position')
  const [train, validation, held] = [data.train, data.validation, data.test!].map((part) => textOf(data, part))
  assert.equal(train + validation + held, text)
  assert.ok(Math.abs(train.length / text.length - 0.9) < 0.001)
  assert.equal(data.test!.run.read(data.test!.run.length - 1, 1)[0], data.config.end[0], 'the text ends')
  assert.ok(!real(data.train.run.read(0, data.train.run.length)).includes(data.config.end[0]))
})

test('documents: whole ones are held out, copies of one on the same side', async () => {
  const path = join(folder, 'poems')
  mkdirSync(path)
  for (let i = 0; i < 300; i++) writeFileSync(join(path, `${i}.txt`), `poem number ${i % 100}\n`)
  const data = await prepared(path, 'bpe')
  assert.equal(data.report.splitBy, 'document')
  const sides = [data.train, data.validation, data.test!].map(
    (part) => new Set(textOf(data, part).split('\n').slice(0, -1)),
  )
  assert.equal(
    sides.reduce((sum, { size }) => sum + size, 0),
    100,
  )
  for (const { size } of sides) assert.ok(size > 0)
  const table = await prepared(
    file('rows.jsonl', Array.from({ length: 60 }, (_, i) => `{"text":"row number ${i}"}\n`).join('')),
  )
  assert.equal(table.report.documents, 60)
})

test('conversations: the answers alone are learnt, by what the template adds for them', async () => {
  const talk = (i: number) => [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: `what is ${i}?` },
    { role: 'assistant', content: `it is ${i}` },
    { role: 'user', content: 'sure?' },
    { role: 'assistant', content: 'yes' },
  ]
  const rows = Array.from({ length: 60 }, (_, i) => JSON.stringify({ messages: talk(i) }))
  const data = await prepared(file('chat.jsonl', `${rows.join('\n')}\n`), 'bpe')
  assert.equal(data.kind, 'chat')
  const codec = TextCodec.load(data.tokenizer)
  const ids = data.train.rows.ids(0)
  const learnt = codec.decode([...ids].filter((id) => id >= 0))
  assert.match(learnt, /^it is \d+\nyes\n$/)
  const [start, end] = [codec.special.get(MESSAGE), codec.special.get(MESSAGE_END)]
  assert.equal([...ids].filter((id) => id === end).length, 2, 'the end of an answer is learnt')
  assert.equal([...ids].filter((id) => id === -1 - start!).length, 5)
  const whole = new ChatTemplate(chatMl).render(talk(Number(/\d+/.exec(learnt)![0])), { answer: false })
  assert.deepEqual(real(ids), await codec.encode(whole), 'pieces give the tokens of the whole')

  for (const [line, reason] of [
    ['{"messages":[{"role":"user","content":"x"}]}', 'assistant'],
    ['{"messages":[{"role":"wizard","content":"x"}]}', 'role'],
    ['{"messages":[{"role":"user","content":5}]}', 'content'],
    ['{"messages":"x"}', 'list'],
  ])
    await assert.rejects(prepared(file('bad.jsonl', `${line}\n`)), (error: Error) => error.message.includes(reason))
})

test('a template that came with a model is bounded in time, and may refuse', () => {
  const talk = [{ role: 'user', content: 'x' }]
  const endless = '{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}'
  assert.throws(() => new ChatTemplate(endless).render(talk, { answer: true }), { code: 'BAD_REQUEST' })
  const refusing = "{{ raise_exception('only two can talk') }}"
  assert.throws(() => new ChatTemplate(refusing).render(talk, { answer: true }), /only two can talk/)
  assert.throws(() => new ChatTemplate('{% for %}'), { code: 'BUNDLE_INVALID' })
  assert.throws(
    () => new ChatTemplate('{{ constructor.constructor("return process")().pid }}').render(talk, { answer: true }),
    {
      code: 'BAD_REQUEST',
    },
  )
})

test('poems: title, author and lines; those with gaps are left out', () => {
  const poem = { title: '春', author: '某', paragraphs: ['一二三，四五六。', '七八九，十。'] }
  const broken = { ...poem, paragraphs: ['一□三。'] }
  assert.deepEqual(poemsOf(JSON.stringify([poem, broken, {}])), ['《春》某\n一二三，四五六。\n七八九，十。\n'])
})
