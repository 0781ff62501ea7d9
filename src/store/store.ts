import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { fail, isDiskFull } from '../base/errors.ts'
import { Blobs, type Files } from './blobs.ts'
import { nodeSqliteDialect } from './dialect.ts'
import { lockHome } from './home.ts'
import { migrations, type Schema } from './schema.ts'

/** The database and blobs of a data folder, held by this process alone. */
export interface Store {
  readonly home: string
  readonly db: Kysely<Schema>
  readonly blobs: Blobs
  close(): Promise<void>
}

/** Opens (and makes, if need be) a data folder; throws HOME_BUSY, HOME_UNUSABLE or DISK_FULL. */
export async function openStore(home: string, options: { files?: Files } = {}): Promise<Store> {
  const lock = lockHome(home)
  const db = new Kysely<Schema>({ dialect: nodeSqliteDialect(() => openDatabase(join(home, 'athanor.sqlite'))) })
  try {
    const { error } = await new Migrator({ db, provider: { getMigrations: async () => migrations } }).migrateToLatest()
    if (error) throw error
  } catch (error) {
    await db.destroy()
    lock.release()
    throw isDiskFull(error) ?? fail('HOME_UNUSABLE', { reason: 'its database cannot be opened' }, { cause: error })
  }
  const blobs = new Blobs(join(home, 'blobs'), options.files)
  await blobs.clearIncoming()
  return {
    home,
    db,
    blobs,
    async close() {
      await db.destroy()
      lock.release()
    },
  }
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path)
  // full: an acknowledged write survives a power cut
  database.exec(
    'pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma busy_timeout = 5000',
  )
  return database
}
