import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { crc32, deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { code, file, folder, rowsOf } from '../testing/datasets.ts'
import { dataCard } from './card.ts'
import { openDataset, type ReadOptions } from './dataset.ts'
import { TextPipeline } from './pipeline.ts'
import { type PrepareOptions, prepare } from './prepare.ts'
import { foldParts, foldRows, type SplitBy, splitRows } from './split.ts'
import { strataOf } from './targets.ts'
import { normalise } from './text.ts'

/** A zip file (APPNOTE 6.3.10) of deflated entries; `lie` replaces the unpacked size in the entries' headers. */
function zip(entries: Record<string, string | Uint8Array>, lie?: number): Buffer {
  const [local, central]: Buffer[][] = [[], []]
  let offset = 0
  for (const [name, content] of Object.entries(entries)) {
    const plain = Buffer.from(content as string)
    const packed = deflateRawSync(plain)
    const head = Buffer.alloc(26)
    head.writeUInt16LE(20, 0)
    head.writeUInt16LE(0x800, 2) // names are UTF-8
    head.writeUInt16LE(8, 4)
    head.writeUInt32LE(crc32(plain), 10)
    head.writeUInt32LE(packed.length, 14)
    head.writeUInt32LE(lie ?? plain.length, 18)
    head.writeUInt16LE(Buffer.byteLength(name), 22)
    const start = Buffer.concat([Buffer.from('PK\x03\x04'), head, Buffer.from(name), packed])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    central.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), head, tail, Buffer.from(name)]))
    local.push(start)
    offset += start.length
  }
  const list = Buffer.concat(central)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(central.length, 4)
  end.writeUInt16LE(central.length, 6)
  end.writeUInt32LE(list.length, 8)
  end.writeUInt32LE(offset, 12)
  return Buffer.concat([...local, list, Buffer.from('PK\x05\x06'), end])
}

test('a zip of one table reads as that table: byte-order mark in a field, empty text, quoted line breaks', async () => {
  const csv = 'cat,label,review\n书籍,1,\ufeff做父母\n平板,0,\n水果,1,"一行\n两行, ""好"""\n'
  const path = file('shop.zip', zip({ '__MACOSX/._shop.csv': 'x', 'a/': '', 'a/shop.csv': csv, 'readme.md': 'hello' }))
  const rows = await rowsOf(path)
  assert.deepEqual(
    rows.map(({ text, label }) => [normalise(text, { unicode: 'NFKC', lowercase: true }), label]),
    [
      ['做父母', '1'],
      ['', '0'],
      ['一行 两行, "好"', '1'],
    ],
  )
  assert.equal((await rowsOf(path, { label: 'cat' }))[2].label, '水果')
  const dataset = await openDataset(path)
  assert.deepEqual([dataset.source, dataset.format], ['shop.zip', 'csv'])
  assert.match(await dataset.digest(), /^[0-9a-f]{64}$/)
  await dataset.close()
})

test('zip files that are no table, or would fill the disk, are refused', async () => {
  const good = 'text,label\na,b\n'
  const cases: [string, Uint8Array, string][] = [
    ['nothing like it', Buffer.from('PK but not really'), 'not a zip file'],
    ['cut off', zip({ 'a.csv': good }).subarray(0, -30), 'not a zip file'],
    ['two', zip({ 'a.csv': good, 'b.tsv': good }), '2 tables'],
    ['none', zip({ 'a.docx': good }), 'no table'],
    // 70 MB of blanks pack into 70 kB
    ['a bomb', zip({ 'a.csv': good + ' '.repeat(70e6) }), 'would unpack'],
    ['a bomb that lies about its size', zip({ 'a.csv': good + ' '.repeat(10e6) }, 1000), 'cannot be unpacked'],
  ]
  for (const [what, bytes, reason] of cases)
    await assert.rejects(rowsOf(file('x.zip', bytes)), code('ARCHIVE_INVALID', reason), what)
  const damaged = zip({ 'a.csv': good.repeat(100) })
  damaged.fill(0xff, 45, 60)
  await assert.rejects(rowsOf(file('x.zip', damaged)), code('ARCHIVE_INVALID', 'unpacked'))
})

test('several labels a row, numbers and times are read, or refused with their line', async () => {
  const path = file(
    'x.csv',
    'text,tags,day,score\none,"a; b",2024-01-02,3.5\ntwo,,2024-01-01,4\nthree,b,2024-02-01,5\n',
  )
  const rows = await rowsOf(path, { label: 'tags', separator: ';', time: 'day' })
  assert.deepEqual(
    rows.map(({ labels }) => labels),
    [['a', 'b'], [], ['b']],
  )
  assert.ok(rows[1].time! < rows[0].time! && rows[0].time! < rows[2].time!)
  const columns = file('x.csv', 'text,hot,cold\na,1,0\nb,yes,是\nc,,0\nd,maybe,0\n')
  await assert.rejects(
    rowsOf(columns, { labelColumns: ['hot', 'cold'] }),
    code('DATA_MALFORMED', 'line 5: "maybe" in column hot'),
  )
  const lists = file('x.jsonl', '{"text":"a","label":["x","y z"]}\n{"text":"b","label":[]}\n')
  assert.deepEqual(
    (await rowsOf(lists, { separator: ',' })).map(({ labels }) => labels),
    [['x', 'y z'], []],
  )
  await assert.rejects(rowsOf(path, { time: 'tags' }), code('DATA_MALFORMED', 'line 2: "a; b" is no time'))
  await assert.rejects(rowsOf(path, { time: 'date' }), code('COLUMN_UNKNOWN', 'day'))
})

test('Chinese in one script, in training as in serving', async () => {
  const how = { unicode: 'NFKC', lowercase: true, script: 'simplified' } as const
  assert.equal(normalise('這個軟體ＡＢＣ，頭髮很長', how), '这个软体abc,头发很长')
  assert.equal(normalise('头发与发财，皇后在后面', { ...how, script: 'traditional' }), '頭髮與發財,皇后在後面')
  assert.equal(normalise('plain English', how), 'plain english')
  const config = { normalise: how, tokenizer: 'character', vocabulary: 50, minimumCount: 1, maxLength: 20 } as const
  async function* texts() {
    yield '這個酒店很好'
  }
  const pipeline = await TextPipeline.train(texts(), config)
  const served = TextPipeline.load(JSON.parse(JSON.stringify(pipeline.config)), pipeline.tokenizerJson)
  const [traditional, simplified] = await served.encode(['這個酒店', '这个酒店'])
  assert.deepEqual(traditional, simplified)
  assert.ok(!simplified.includes(1))
})

test('split by time: what tests is later than what trains, and one moment is not torn apart', () => {
  const times = fc.array(fc.nat(40), { minLength: 60, maxLength: 200 })
  fc.assert(
    fc.property(times, (given) => {
      const rows = given.map((time) => ({ label: 0, time }))
      const parts = splitRows(rows, { validation: 0.2, test: 0.2, seed: 1, by: 'time' })
      const of = (part: string) => given.filter((_, i) => parts[i] === part)
      assert.ok(Math.max(...of('train')) < Math.min(...of('validation')))
      assert.ok(Math.max(...of('validation')) < Math.min(...of('test')))
    }),
    { numRuns: 50 },
  )
  const same = Array.from({ length: 20 }, () => ({ label: 0, time: 1 }))
  const split = { validation: 0.2, test: 0.2, seed: 1 }
  assert.throws(() => splitRows(same, { ...split, by: 'time' }), code('SPLIT_IMPOSSIBLE', 'time'))
  const bare = same.map(() => ({ label: 0 }))
  assert.throws(() => splitRows(bare, { ...split, by: 'group' }), code('SPLIT_IMPOSSIBLE', '--group'))
  assert.throws(() => splitRows(bare, { ...split, by: 'time' }), code('SPLIT_IMPOSSIBLE', '--time'))
})

test('folds: every row tests once, labels and groups as they should be, the past never learns from the future', () => {
  const rows = Array.from({ length: 101 }, (_, i) => ({ label: i % 3, group: `g${i % 17}`, time: i % 50 }))
  for (const by of ['label', 'group', 'time'] as SplitBy[]) {
    const fold = foldRows(rows, { folds: 5, seed: 4, by })
    assert.deepEqual(foldRows(rows, { folds: 5, seed: 4, by }), fold)
    const sizes = [0, 1, 2, 3, 4].map((f) => fold.filter((one) => one === f).length)
    assert.ok(Math.min(...sizes) >= 15 && Math.max(...sizes) <= 25, `${by}: ${sizes}`)
    if (by === 'label')
      for (const label of [0, 1, 2]) {
        const counts = [0, 1, 2, 3, 4].map((f) => rows.filter((row, i) => row.label === label && fold[i] === f).length)
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1)
      }
    for (const held of [1, 2, 3, 4]) {
      const parts = foldParts(rows, fold, held, { validation: 0.1, seed: 4, by })
      assert.ok(parts.includes('train') && parts.includes('validation'))
      parts.forEach((part, i) => {
        assert.equal(part === 'test', fold[i] === held)
        if (by === 'group') assert.ok(rows.every((row, j) => row.group !== rows[i].group || parts[j] === part))
        if (by === 'time' && part === 'test')
          for (const [j, other] of parts.entries()) if (other === 'train') assert.ok(rows[j].time <= rows[i].time)
      })
    }
  }
  assert.throws(() => foldRows(rows, { folds: 20, seed: 1, by: 'group' }), code('SPLIT_IMPOSSIBLE', '17 groups'))
  assert.throws(() => foldRows(rows.slice(0, 5), { folds: 5, seed: 1 }), code('SPLIT_IMPOSSIBLE', 'too few'))
})

const wish = {
  normalise: { unicode: 'NFKC', lowercase: true },
  tokenizer: 'character',
  vocabulary: 500,
  minimumCount: 1,
  maxLength: 40,
} as const
async function prepared(path: string, more: Partial<PrepareOptions> & { read?: ReadOptions } = {}) {
  const { read, ...options } = more
  return prepare({
    train: await openDataset(path, read),
    split: { validation: 0.2, test: options.validation ? 0 : 0.2, seed: 1 },
    pipeline: wish,
    folder: mkdtempSync(join(folder, 'work-')),
    ...options,
  })
}
const noise = (i: number) => ((i * 7919) % 9973).toString(36).repeat(3)

test('a file given to be held out validates; where a way to split is asked for, it tests', async () => {
  const table = (from: number, count: number) =>
    `text,label\n${Array.from({ length: count }, (_, i) => `${noise(from + i)},${i % 2}`).join('\n')}`
  const held = file('dev.csv', table(5000, 40))
  const many = await prepared(file('x.csv', table(0, 300)), {
    validation: await openDataset(held),
    split: { validation: 0.2, test: 0, seed: 1, by: 'label' },
  })
  assert.deepEqual(many.report.splits, { train: 240, validation: 60, test: 40 })
  assert.equal(many.report.splitBy, 'label, given file')
  assert.equal(many.test?.rows, 40)
  const few = await prepared(file('x.csv', table(0, 60)), { validation: await openDataset(held) })
  assert.deepEqual(few.report.splits, { train: 60, validation: 40, test: 0 })
  assert.equal(few.report.splitBy, 'given file')
})

test('several labels and numbers are prepared, split in proportion, and opened again', async () => {
  const tags = ['a', 'b', 'c']
  const several = Array.from({ length: 120 }, (_, i) => `${noise(i)},${tags.filter((_, t) => (i >> t) & 1).join(';')}`)
  const read = { separator: ';' }
  const multi = await prepared(file('x.csv', `text,label\n${several.join('\n')}`), { problem: 'multi-label', read })
  assert.deepEqual(multi.labels, tags)
  assert.equal(multi.sets.length, 8)
  assert.deepEqual(Object.values(multi.report.labels), [60, 60, 60])
  for (let row = 0; row < multi.train.rows; row++) assert.ok(multi.sets[multi.train.label(row)])
  assert.ok(multi.test!.rows >= 20)

  const numbers = Array.from({ length: 100 }, (_, i) => `${noise(i)},${(i / 10).toFixed(1)}`)
  const scored = await prepared(file('x.csv', `text,score\n${numbers.join('\n')}`), { problem: 'regression' })
  assert.deepEqual(scored.labels, [])
  const held = Array.from({ length: scored.test!.rows }, (_, row) => scored.test!.label(row))
  assert.ok(Math.min(...held) < 3 && Math.max(...held) > 7, 'low and high values are held out')
  assert.ok(Math.abs(scored.report.values!.mean - 4.95) < 0.7)
  await assert.rejects(
    prepared(file('x.csv', 'text,score\na,1\nb,good\n'), { problem: 'regression' }),
    code('DATA_MALFORMED', 'line 3: "good" is not a number'),
  )
  const constant = `text,score\n${Array.from({ length: 30 }, (_, i) => `${noise(i)},2`).join('\n')}`
  await assert.rejects(prepared(file('x.csv', constant), { problem: 'regression' }), code('LABEL_CONSTANT'))
  assert.deepEqual([...strataOf('multi-label', [0, 1, 1, 1], [[0, 1], [1]])], [0, 1, 1, 1])
})

test('a data card says what was done and gives no removed text away', async () => {
  const secret = 'the patient was born on the first of May and lives in Hill Street'
  const rows = Array.from({ length: 40 }, (_, i) => `${noise(i)} ${i},${i % 2 ? 'a|b' : 'c'}`)
  const path = file('x.csv', `text,label\n${rows.join('\n')}\n${secret},c\n${secret}!,c\n ,c\n`)
  const { report, digest } = await prepared(path)
  const card = dataCard(report, digest)
  assert.match(card, /rows kept: 41 of 43/)
  assert.match(card, /\| repeated \| 1 \| line 43: the patient was born o…/)
  assert.match(card, /\| a\\\|b \| 20 \|/)
  assert.ok(card.includes(digest) && !card.includes('Hill Street') && !JSON.stringify(report).includes('Hill'))
})
