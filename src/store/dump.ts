import { createReadStream } from 'node:fs'
import { type Kysely, sql } from 'kysely'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import { withLease } from './leases.ts'
import { migrations } from './migrations.ts'
import type { Schema } from './schema.ts'
import { openSqlite, type Store, sqlitePath } from './store.ts'

/** What every row of a table is: column → text, number, bytes or nothing. */
export type Row = Record<string, string | number | Uint8Array | null>

export interface DumpHeader {
  format: 'athanor-backup'
  formatVersion: 1
  code: string
  createdAt: string
  /** The newest migration of its database. */
  migration: string
  /** In the order in which rows can be put in. */
  tables: string[]
}

/** A store piece by piece: a header, rows by table, each blob once, and the counts of both. */
export type DumpPart =
  | { kind: 'header'; header: DumpHeader }
  | { kind: 'rows'; table: string; rows: Row[] }
  | { kind: 'blob'; digest: string; bytes: number; content: AsyncIterable<Uint8Array> }
  | { kind: 'end'; rows: number; blobs: number }

/** The lease under which blobs are removed, or must not be. */
export const SWEEP = 'sweep'

/** Tables that are made anew, or mean nothing elsewhere. */
const left = new Set(['leases', 'search_models', 'search_terms', 'search_facets', 'search_metrics'])
const ROWS = 500

/**
 * All of a store as it is at one moment, while it is written to. Nothing is swept meanwhile; throws BUSY where a sweep
 * goes on. Without `blobs` only rows.
 */
export async function* dump(store: Store, { blobs }: { blobs: boolean }): AsyncGenerator<DumpPart> {
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>()
  const { promise: begun, resolve: begin } = Promise.withResolvers<boolean>()
  const lease = withLease(store, SWEEP, async () => {
    begin(true)
    await finished
  }).finally(() => begin(false))
  lease.catch(() => undefined) // what is wrong is told by the first read
  try {
    if (!(await begun)) throw fail('BUSY', { what: 'files are being swept or backed up' })
    yield* parts(store, blobs)
  } finally {
    finish()
    await lease
  }
}

async function* parts(store: Store, blobs: boolean): AsyncGenerator<DumpPart> {
  const snapshot = store.shared ? await postgresSnapshot(store.db) : sqliteSnapshot(store.home)
  const wanted = new Map<string, number>()
  let rows = 0
  try {
    const tables = (await snapshot.tables()).filter((table) => !left.has(table))
    const migration = Object.keys(migrations).at(-1)!
    const about = { format: 'athanor-backup', formatVersion: 1, code, migration, tables } as const
    yield { kind: 'header', header: { ...about, createdAt: new Date().toISOString() } }
    for (const table of tables) {
      for await (const part of snapshot.rows(table)) {
        rows += part.length
        for (const { digest, bytes } of part)
          if (typeof digest === 'string' && typeof bytes === 'number') wanted.set(digest, bytes)
        yield { kind: 'rows', table, rows: part }
      }
    }
  } finally {
    await snapshot.close()
  }
  if (blobs)
    for (const [digest, bytes] of wanted)
      yield { kind: 'blob', digest, bytes, content: createReadStream(await store.blobs.verify(digest)) }
  yield { kind: 'end', rows, blobs: blobs ? wanted.size : 0 }
}

/** Rows of a database as they are at one moment; tables in the order in which they were made. */
interface Snapshot {
  tables(): Promise<string[]>
  rows(table: string): AsyncIterable<Row[]>
  close(): Promise<void>
}

const isOurs = (name: string) => !name.startsWith('kysely_') && !name.startsWith('sqlite_')

/** A second connection reads what was there when it began; the first goes on writing. */
function sqliteSnapshot(home: string): Snapshot {
  const database = openSqlite(sqlitePath(home), { readOnly: true })
  database.exec('begin')
  return {
    async tables() {
      const rows = database.prepare("select name from sqlite_master where type = 'table' order by rowid").all()
      return rows.map(({ name }) => String(name)).filter(isOurs)
    },
    async *rows(table) {
      let part: Row[] = []
      for (const row of database.prepare(`select * from "${table}"`).iterate()) {
        part.push({ ...row } as Row)
        if (part.length < ROWS) continue
        yield part
        part = []
      }
      if (part.length > 0) yield part
    },
    async close() {
      database.close()
    },
  }
}

async function postgresSnapshot(db: Kysely<Schema>): Promise<Snapshot> {
  const tx = await db.startTransaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute()
  return {
    async tables() {
      const { rows } = await sql<{ relname: string }>`select relname from pg_class
        where relkind = 'r' and relnamespace = current_schema()::regnamespace order by oid`.execute(tx)
      return rows.map(({ relname }) => relname).filter(isOurs)
    },
    async *rows(table) {
      for (let after = '(0,0)'; ; ) {
        const { rows } = await sql<Row & { place: string }>`select ctid::text as place, t.* from ${sql.table(table)} t
          where ctid > ${after}::tid order by ctid limit ${ROWS}`.execute(tx)
        if (rows.length === 0) return
        after = rows.at(-1)!.place
        yield rows.map(({ place: _, ...row }) => row as Row)
      }
    },
    async close() {
      await tx.rollback().execute()
    },
  }
}
