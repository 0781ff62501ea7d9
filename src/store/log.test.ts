import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { placesAt } from '../testing/backends.ts'
import { LogEntries } from './log.ts'
import { openStore } from './store.ts'

test('more entries than one statement takes are kept, the newest told first', async () => {
  const home = mkdtempSync(join(tmpdir(), 'athanor-log-'))
  const store = await openStore(home, await placesAt(home))
  const log = new LogEntries(store)
  const at = new Date().toISOString()
  await log.add([])
  await log.add(Array.from({ length: 3_500 }, (_, i) => ({ at, level: 'error' as const, event: 'made.up', ms: i })))
  const [newest] = await log.list({ limit: 1 })
  assert.equal(newest.ms, 3_499)
  const { rows } = await store.db
    .selectFrom('log_entries')
    .select(({ fn }) => fn.countAll<number>().as('rows'))
    .executeTakeFirstOrThrow()
  assert.equal(Number(rows), 3_500)
  await store.close()
  rmSync(home, { recursive: true, force: true })
})
