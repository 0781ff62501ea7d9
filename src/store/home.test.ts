import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { asAthanorError } from '../base/errors.ts'
import { assertRoom } from './home.ts'

test('a disk without room is refused before it is written to', () => {
  assertRoom(tmpdir())
  assert.throws(() => assertRoom(tmpdir(), 2 ** 60), { code: 'DISK_FULL', status: 507 })
})

test('a database that may not grow says that the disk is full', () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-full-'))
  const database = new DatabaseSync(join(folder, 'small.sqlite'))
  try {
    database.exec('create table t (x blob); pragma max_page_count = 3')
    const fill = () => database.prepare('insert into t values (zeroblob(?))').run(1 << 20)
    assert.throws(fill, (error) => asAthanorError(error).code === 'DISK_FULL')
  } finally {
    database.close()
    rmSync(folder, { recursive: true })
  }
})
