import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { code, file, folder } from '../testing/datasets.ts'
import { rowsThatFit } from './clean-rows.ts'
import { clean } from './cleaned.ts'
import { openDataset } from './dataset.ts'
import { RowKeys } from './keys.ts'
import { assertHeld } from './records.ts'
import { countTokens } from './tokenizers.ts'

test('hundreds of thousands of rows are cleaned and split in a heap that has no room for them', () => {
  const into = mkdtempSync(join(folder, 'large-'))
  const at = (name: string) => JSON.stringify(new URL(name, import.meta.url).href)
  const script = `
    const { clean, cleanTexts, openCleaned } = await import(${at('./cleaned.ts')})
    const { partsOf } = await import(${at('./prepare.ts')})
    async function* rows() {
      for (let i = 0; i < 200_000; i++)
        yield { text: 'w' + i.toString(36), label: i % 2 ? 'a' : 'b', group: 'g' + (i % 1000), line: i + 2 }
      yield { text: 'W7', label: 'b', line: 200_002 } // as the row 7, but for its label
      yield { text: 'w8.', label: 'b', line: 200_003 } // as the row 8
    }
    const train = { source: 'x', format: 'csv', encoding: 'utf-8', columns: { text: 'text' }, rows, digest: async () => 'x', close: async () => {} }
    const { removed } = await clean({ train, characters: 100, most: 1e6, folder: ${JSON.stringify(into)} })
    const cleaned = openCleaned(${JSON.stringify(into)})
    const { parts } = partsOf(cleaned, { validation: 0.1, test: 0.1, seed: 1, by: 'label' })
    let last = ''
    for await (const batch of cleanTexts(${JSON.stringify(into)}, cleaned, (row) => row > 199_990)) last = batch.at(-1)
    console.log(JSON.stringify({ rows: cleaned.rows.length, counts: removed.counts, last, held: parts.filter((one) => one === 'test').length }))`
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--max-old-space-size=32', '--input-type=module', '-e', script],
    { encoding: 'utf8' },
  )
  assert.equal(status, 0, stderr)
  const { rows, counts, last, held } = JSON.parse(stdout) as Record<string, unknown>
  assert.equal(rows, 199_999)
  const none = { empty: 0, unlabelled: 0, nearDuplicate: 0, leakage: 0 }
  assert.deepEqual(counts, { ...none, duplicate: 1, conflictingLabel: 2 })
  assert.deepEqual(last, { at: 199_998, text: `w${(199_999).toString(36)}` })
  assert.equal(held, 20_000)
})

test('what does not fit into memory is refused by name, with what would; nothing is left that could be taken for data', async () => {
  const rows = Array.from({ length: 60 }, (_, i) => `text ${i},${i % 2}`)
  const train = await openDataset(file('big.csv', `text,label\n${rows.join('\n')}\n`))
  const into = mkdtempSync(join(folder, 'large-'))
  const refused = clean({ train, characters: 100, most: 50, folder: into })
  await assert.rejects(
    refused,
    code('DATA_TOO_LARGE', 'big.csv is too large for the memory that is free: 50 rows would'),
  )
  assert.ok(!existsSync(join(into, 'cleaned.json')), String(readdirSync(into)))
  const path = file('pairs.jsonl', 'x'.repeat(3e6))
  await assertHeld({ path, name: 'pairs.jsonl' }, 12e6)
  const held = assertHeld({ path, name: 'pairs.jsonl' }, 8e6)
  await assert.rejects(held, code('DATA_TOO_LARGE', 'it has 3 MB, and about 2 MB would fit'))
  // a machine of 2 GB holds millions, one of 16 GB tens of millions; however little there is, small data is tried
  const fit = [rowsThatFit(2e9, 1e9), rowsThatFit(16e9, 4e9), rowsThatFit(1e8, 1e8)]
  assert.deepEqual(fit, [8_000_000, 38_000_000, 100_000])
})

test('keys find their rows through growth and collisions', () => {
  const keys = new RowKeys()
  // of the lower bits, by which places are chosen, all are alike in tens
  const key = (i: number) => (BigInt(i) << 32n) | BigInt(i % 1000)
  for (let i = 0; i < 10_000; i++) {
    assert.equal(keys.get(key(i)), undefined)
    keys.add(key(i), i)
  }
  for (let i = 0; i < 10_000; i++) assert.equal(keys.get(key(i)), i)
})

test('of more different tokens than can be counted the frequent ones are found', async () => {
  async function* texts() {
    for (let i = 0; i < 5000; i++) yield `often rare${i} ${i % 5 === 0 ? 'sometimes' : ''}`
  }
  const counts = await countTokens(texts(), (text) => text.trim().split(/ +/), 100)
  assert.ok(counts.size <= 100)
  assert.equal(counts.get('often'), 5000)
  assert.ok(counts.get('sometimes')! > 900)
})
