import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, test } from 'node:test'
import { sql } from 'kysely'
import { backends, removeBackends } from '../testing/backends.ts'
import { type DumpPart, dump } from './dump.ts'
import { load } from './load.ts'
import { openStore, openTarget } from './store.ts'

after(removeBackends)
/** A release of before. */
const BEFORE = '0010_alert_rules'

for (const { name, skip, fresh } of backends) {
  test(`a migration that is killed half-way has changed nothing, and is done at the next start: ${name}`, {
    skip,
  }, async () => {
    const { home, places } = await fresh()
    const old = await openTarget(home, places)
    const { error } = await old.migrator.migrateTo(BEFORE)
    assert.equal(error, undefined)
    await old.db.insertInto('models').values({ name: 'kept', created_at: '2026-01-01', last_version: 0 }).execute()
    await old.close()

    const at = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
    const script = `
      import { migrations } from ${at('./migrations.ts')}
      import { openStore } from ${at('./store.ts')}
      const last = Object.keys(migrations).at(-1)
      const { up } = migrations[last]
      migrations[last] = {
        async up(db) {
          await up(db)
          process.stdout.write(last)
          process.kill(process.pid, 'SIGKILL')
        },
      }
      await openStore(${JSON.stringify(home)}, ${JSON.stringify(places)})`
    const quiet = ['--input-type=module', '--disable-warning=ExperimentalWarning']
    const killed = spawnSync(process.execPath, [...quiet, '-e', script], { encoding: 'utf8' })
    assert.deepEqual([killed.signal, killed.stderr], ['SIGKILL', ''])
    assert.match(killed.stdout, /^\d{4}_\w+$/)

    const halted = await openTarget(home, places)
    const done = (await halted.migrator.getMigrations()).filter(({ executedAt }) => executedAt)
    assert.equal(done.at(-1)?.name, BEFORE)
    await halted.close()
    const store = await openStore(home, places)
    assert.equal((await store.db.selectFrom('models').select('name').executeTakeFirstOrThrow()).name, 'kept')
    assert.deepEqual(await store.db.selectFrom('audit').select('outcome').execute(), [])
    await store.close()
  })

  test(`a database of a later version is named as such, and left as it is: ${name}`, { skip }, async () => {
    const { home, places } = await fresh()
    const store = await openStore(home, places)
    const backup: DumpPart[] = []
    for await (const part of dump(store, { blobs: true })) backup.push(part)
    const table = sql.ref(places.schema === undefined ? 'kysely_migration' : `${places.schema}.kysely_migration`)
    await sql`insert into ${table} (name, timestamp) values ('9999_later', '2999-01-01')`.execute(store.db)
    await store.close()
    const told = { code: 'DATABASE_NEWER', message: /by a later version of Athanor.*9999_later/ }
    await assert.rejects(openStore(home, places), told)
    const target = await openTarget(home, places)
    const parts = async function* () {
      yield* backup
    }
    await assert.rejects(load(target, parts()), told)
    await target.close()
  })
}
