import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Kysely, type RawBuilder, sql, type Transaction } from 'kysely'
import { Migrator } from 'kysely/migration'
import { AthanorError, fail, isDiskFull } from '../base/errors.ts'
import { type Blobs, DiskBlobs, type Files } from './blobs.ts'
import { nodeSqliteDialect } from './dialect.ts'
import { lockHome } from './home.ts'
import { migrations } from './migrations.ts'
import type { Schema } from './schema.ts'

/** Where rows and blobs are kept: by default in the data folder. */
export interface Places {
  /** `postgres://…`; SQLite in the data folder otherwise. */
  database?: string
  /** The part of the database that holds the tables; PostgreSQL's own default otherwise. */
  schema?: string
  /** `s3://bucket/prefix?endpoint=…`; a folder otherwise. */
  blobs?: string
}

/** Tenant whose rows and files lie where the configuration says; those of others lie in parts of their own. */
const DEFAULT = 'default'

/** Where the rows and files of a tenant are, of those that are not in data folders. */
export function placesOf({ database, blobs }: { database: string; blobs: string }, tenant: string): Places {
  const own = tenant !== DEFAULT
  const bucket = blobs && own ? new URL(blobs) : undefined
  if (bucket) bucket.pathname = `${bucket.pathname.replace(/\/+$/, '')}/tenants/${tenant}`
  return { database, blobs: bucket?.href ?? blobs, ...(database && own && { schema: `tenant_${tenant}` }) }
}

/** Stores to be filled. */
export interface Target extends Pick<Store, 'db' | 'shared' | 'blobs' | 'close'> {
  readonly migrator: Migrator
}

/** The database and blobs that this process works with, and a data folder of its own. */
export interface Store {
  readonly home: string
  readonly db: Kysely<Schema>
  readonly blobs: Blobs
  /** Whether other processes may work with the same database at the same time. */
  readonly shared: boolean
  /** Milliseconds since 1970 by the one clock that all processes on the database share. */
  now(): RawBuilder<number>
  /** Writes what a power cut may take back, all of it or nothing: it does not wait for the disk. */
  lightly<T>(work: (transaction: Transaction<Schema>) => Promise<T>): Promise<T>
  close(): Promise<void>
}

/**
 * Stores as `openStore` opens them, with nothing migrated, to be filled by `load`. With `home` of a store that is open,
 * `borrowed` says so.
 */
export async function openTarget(
  home: string,
  { borrowed = false, ...places }: Places & { borrowed?: boolean },
): Promise<Target> {
  const lock = borrowed ? undefined : lockHome(home)
  try {
    const db = await openDatabase(home, places)
    const close = async () => {
      await db.destroy()
      lock?.release()
    }
    const shared = Boolean(places.database)
    return { db, shared, blobs: await openBlobs(home, places), migrator: migratorOf(db, places), close }
  } catch (error) {
    lock?.release()
    throw error
  }
}

/**
 * Opens (and makes, if need be) a data folder and what is configured beside it. Throws HOME_BUSY, HOME_UNUSABLE,
 * DATABASE_NEWER, DISK_FULL, OPTION_INVALID or STORAGE_UNAVAILABLE.
 */
export async function openStore(home: string, options: Places & { files?: Files } = {}): Promise<Store> {
  const lock = lockHome(home)
  let db: Kysely<Schema> | undefined
  try {
    const shared = Boolean(options.database)
    db = await openDatabase(home, options)
    checkMigrated(await migratorOf(db, options).migrateToLatest())
    if (!shared) await db.deleteFrom('leases').execute() // of a process that was killed
    const blobs = await openBlobs(home, options)
    const opened = db
    return {
      home,
      db,
      blobs,
      shared,
      now: () =>
        shared ? sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint` : sql<number>`${Date.now()}`,
      lightly: (work) => (shared ? lightlyInPostgres : lightlyInSqlite)(opened, work),
      async close() {
        await opened.destroy()
        lock.release()
      },
    }
  } catch (error) {
    await db?.destroy()
    lock.release()
    if (error instanceof AthanorError) throw error
    throw isDiskFull(error) ?? fail('HOME_UNUSABLE', { reason: 'its database cannot be opened' }, { cause: error })
  }
}

type Lightly = <T>(db: Kysely<Schema>, work: (transaction: Transaction<Schema>) => Promise<T>) => Promise<T>

const lightlyInPostgres: Lightly = (db, work) =>
  db.transaction().execute(async (transaction) => {
    await sql`set local synchronous_commit = off`.execute(transaction)
    return work(transaction)
  })

/** Of the one connection, which is held meanwhile: with `normal` it is the next full commit that waits for the disk. */
const lightlyInSqlite: Lightly = (db, work) =>
  db.connection().execute(async (connection) => {
    await sql`pragma synchronous = normal`.execute(connection)
    try {
      return await connection.transaction().execute(work)
    } finally {
      await sql`pragma synchronous = full`.execute(connection)
    }
  })

/** The database of a data folder, or at an address; nothing is migrated. */
async function openDatabase(home: string, { database: address, schema }: Places): Promise<Kysely<Schema>> {
  if (!address) return new Kysely<Schema>({ dialect: nodeSqliteDialect(() => openSqlite(sqlitePath(home))) })
  if (!/^postgres(ql)?:\/\//.test(address))
    throw fail('OPTION_INVALID', { option: 'database', reason: 'expected postgres://user@host/name' })
  const { postgresDialect } = await import('./postgres.ts')
  return new Kysely<Schema>({ dialect: await postgresDialect(address, schema) })
}

/** What brings a database up to date; it also makes the part of it that is named. */
const migratorOf = (db: Kysely<Schema>, { schema }: Places) =>
  new Migrator({
    db,
    provider: { getMigrations: async () => migrations },
    ...(schema !== undefined && { migrationTableSchema: schema }),
  })

/** Throws what a migrator failed by; DATABASE_NEWER of a database in which more was done than it knows of. */
export function checkMigrated({ error }: { error?: unknown }) {
  if (!error) return
  const [, migration] = /previously executed migration (\S+) is missing/.exec(String(error)) ?? []
  throw migration === undefined ? error : fail('DATABASE_NEWER', { migration }, { cause: error })
}

async function openBlobs(home: string, { blobs: address, files }: Places & { files?: Files }): Promise<Blobs> {
  const disk = new DiskBlobs(join(home, 'blobs'), files)
  await disk.clearIncoming()
  if (!address) return disk
  const { openS3 } = await import('./s3.ts')
  return openS3(address, disk)
}

export const sqlitePath = (home: string) => join(home, 'athanor.sqlite')

export function openSqlite(path: string, options: { readOnly?: boolean } = {}): DatabaseSync {
  const database = new DatabaseSync(path, options)
  // full: an acknowledged write survives a power cut
  if (!options.readOnly) database.exec('pragma journal_mode = wal; pragma synchronous = full')
  database.exec('pragma foreign_keys = on; pragma busy_timeout = 5000')
  return database
}
