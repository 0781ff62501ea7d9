import { sql, type Transaction } from 'kysely'
import { fail } from '../base/errors.ts'
import type { DumpPart, Row } from './dump.ts'
import { migrations } from './migrations.ts'
import type { Schema } from './schema.ts'
import { checkMigrated, type Target } from './store.ts'

/** Values that one statement takes at most. */
const VALUES = 30_000

const invalid = (reason: string) => fail('BACKUP_INVALID', { reason })

/**
 * Puts a dump into stores that nothing is in. Rows become visible all at once, with the last part; what is interrupted
 * has left nothing but files that nothing refers to. A dump of an older version is brought up to this one. Throws
 * NOT_EMPTY, BACKUP_INVALID or DATABASE_NEWER.
 */
export async function load(
  { db, shared, blobs, migrator }: Omit<Target, 'close'>,
  parts: AsyncIterable<DumpPart>,
): Promise<{ rows: number; blobs: number }> {
  const reader = parts[Symbol.asyncIterator]()
  try {
    const first = await reader.next()
    if (first.done || first.value.kind !== 'header') throw invalid('it has no header')
    const { migration, tables } = first.value.header
    if (!(migration in migrations)) throw invalid(`it was made by a newer version, ${first.value.header.code}`)
    const done = (await migrator.getMigrations()).filter(({ executedAt }) => executedAt !== undefined)
    const there = done.at(-1)?.name ?? migration
    if (there !== migration) throw invalid(`it is of another version (${migration}) than this database (${there})`)
    checkMigrated(await migrator.migrateTo(migration))
    const counts = await db.transaction().execute(async (tx) => {
      await checkEmpty(tx)
      for (const table of tables.toReversed()) await sql`delete from ${sql.table(table)}`.execute(tx)
      const counts = { rows: 0, blobs: 0 }
      for (let next = await reader.next(); !next.done; next = await reader.next()) {
        const part = next.value
        if (part.kind === 'rows') {
          await insert(tx, part.table, part.rows)
          counts.rows += part.rows.length
        } else if (part.kind === 'blob') {
          const stored = await blobs.put(part.content)
          blobs.settle([stored.digest])
          if (stored.digest !== part.digest) throw invalid(`the file ${part.digest.slice(0, 12)}… is not what it was`)
          counts.blobs++
        } else if (part.kind === 'end') {
          if (part.rows !== counts.rows || part.blobs !== counts.blobs) throw invalid('something is missing in it')
          if (shared) await raiseIdentities(tx, tables)
          return counts
        }
      }
      throw invalid('it ends too early')
    })
    checkMigrated(await migrator.migrateToLatest())
    return counts
  } finally {
    await reader.return?.()
  }
}

async function checkEmpty(tx: Transaction<Schema>) {
  for (const table of ['models', 'datasets', 'runs'] as const)
    if (await tx.selectFrom(table).select(sql<number>`1`.as('one')).limit(1).executeTakeFirst()) throw fail('NOT_EMPTY')
}

async function insert(tx: Transaction<Schema>, table: string, rows: readonly Row[]) {
  const most = Math.max(1, Math.floor(VALUES / Math.max(1, Object.keys(rows[0] ?? {}).length)))
  for (let at = 0; at < rows.length; at += most)
    await tx
      .insertInto(table as keyof Schema)
      .values(rows.slice(at, at + most) as never)
      .execute()
}

/** Numbers that PostgreSQL gives next are beyond those that were put in. */
async function raiseIdentities(tx: Transaction<Schema>, tables: readonly string[]) {
  for (const table of tables) {
    const { rows } = await sql<{ name: string }>`select column_name as name from information_schema.columns
      where table_schema = current_schema() and table_name = ${table} and is_identity = 'YES'`.execute(tx)
    for (const { name } of rows)
      await sql`select setval(pg_get_serial_sequence(${table}, ${name}),
        (select coalesce(max(${sql.ref(name)}), 0) + 1 from ${sql.table(table)}), false)`.execute(tx)
  }
}
