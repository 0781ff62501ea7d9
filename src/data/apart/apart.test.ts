import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { AthanorError } from '../../base/errors.ts'
import { parquetFile } from '../../testing/readers.ts'
import { openDataset, type Row } from '../dataset.ts'
import { parquetRows } from '../parquet.ts'
import { readTensors } from '../tensors.ts'
import { imagesApart, readParquet, rowsApart } from './apart.ts'

const folder = mkdtempSync(join(tmpdir(), 'athanor-apart-'))
after(() => rmSync(folder, { recursive: true, force: true }))
function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = []
  for await (const item of items) found.push(item)
  return found
}

/** A column of equal texts, the last apart: a run of one's place in the dictionary, whose first bytes are then changed. */
function oneRun(change: number[]): Uint8Array {
  const data = [...new Array<string>(100_000).fill('sun'), 'rain']
  const bytes = new Uint8Array(
    parquetWriteBuffer({
      columnData: [{ name: 'text', data, type: 'STRING', encoding: 'RLE_DICTIONARY' }],
      codec: 'UNCOMPRESSED',
    }),
  )
  const run = Buffer.from([0xf0, 0x8a, 0x0c, 0]) // 99,000 * 2 as a varint (the writer's first page is of 1,000), then 0
  const at = Buffer.from(bytes).indexOf(run)
  assert.ok(at > 0)
  bytes.set(change, at)
  return bytes
}

test('Parquet is read as it was written: texts, whole numbers, lists, compressed or not', async () => {
  const path = file('rows.parquet', parquetFile(50))
  const opened = await openDataset(path, { text: 'text', label: 'label' })
  const rows = await all(opened.rows())
  assert.equal(rows.length, 50)
  assert.deepEqual(rows[21], { text: 'sun 21 今天', label: 'bad', line: 22 })
  const { columns, dims } = await readTensors({ path, source: 'rows.parquet' }, [
    { name: 'x', dims: [-1] },
    { name: 'count', dims: [1] },
  ])
  assert.deepEqual([dims.x, [...columns.x.slice(0, 4)], columns.count[49]], [[2], [0, 0, 1, 0.5], 49])
})

test('a reader that never ends, or takes all memory, is ended alone; the next file is read', async () => {
  const source = 'hostile.parquet'
  const honest = file('honest.parquet', oneRun([]))
  assert.equal((await all(readParquet({ path: honest, source, encoding: 'binary' }))).length, 100_001)
  const path = file(source, oneRun([0xfe, 0xff, 0xff, 0xff])) // the run is now longer than any memory
  let turns = 0
  const clock = setInterval(() => turns++, 10)
  const began = performance.now()
  await assert.rejects(
    all(readParquet({ path, source, encoding: 'binary' })),
    code('DATA_MALFORMED', 'too much time or memory'),
  )
  clearInterval(clock)
  assert.ok(turns > (performance.now() - began) / 1000, 'this process went on with its own work')
  assert.equal((await all(readParquet({ path: honest, source, encoding: 'binary' }))).length, 100_001)
})

test('rows and images come from a process of their own as they come from here, and so do errors', async () => {
  const csv = file('rows.csv', `text,label\n${Array.from({ length: 1500 }, (_, i) => `sun ${i},good\n`).join('')}`)
  const rows: Row[] = (await all(rowsApart(csv, {}))).flat()
  assert.deepEqual(rows, await all((await openDataset(csv)).rows()))
  await assert.rejects(all(rowsApart(csv, { text: 'txet' })), code('COLUMN_UNKNOWN', 'Did you mean "text"'))
  await assert.rejects(all(rowsApart(join(folder, 'no.csv'), { name: 'my.csv' })), code('DATA_NOT_FOUND', 'my.csv'))
  await assert.rejects(all(imagesApart(csv, 'rows.csv')), code('DATA_FORMAT_UNKNOWN'))
  // a reader left before the end reads the next file
  for await (const _ of rowsApart(csv, {})) break
  assert.equal((await all(rowsApart(csv, {}))).flat().length, 1500)
})

test('lines and lists without end are refused', async () => {
  const long = file('long.jsonl', `{"text":"${'a'.repeat(17 << 20)}"}\n`)
  await assert.rejects(openDataset(long, { text: 'text' }), code('DATA_MALFORMED', 'a line over 16 MiB'))
  const deep = file('deep.jsonl', `{"text":${'['.repeat(200_000)}${']'.repeat(200_000)}}\n`)
  await assert.rejects(openDataset(deep, { text: 'text' }), code('DATA_MALFORMED', 'line 1: lists nested too deeply'))
})

test('a file cut anywhere is refused', async () => {
  const whole = parquetFile(10)
  for (const share of [0.2, 0.6, 0.99]) {
    const path = file('cut.parquet', whole.subarray(0, Math.floor(whole.length * share)))
    await assert.rejects(all(parquetRows({ path, source: 'cut.parquet', encoding: 'binary' })), code('DATA_MALFORMED'))
  }
})
