import type { Kysely } from 'kysely'
import { SWEEP } from '../store/dump.ts'
import { withLease } from '../store/leases.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { announce } from './changes.ts'

/** A deleted version that is still kept. */
export interface Deleted {
  model: string
  version: number
  deletedAt: string
}

/** What was purged, and the blobs that went. */
export interface Retained {
  versions: number
  blobs: number
  bytes: number
}

const DAY = 86_400_000
/** Milliseconds after the start before anything is collected: a server that restarts again and again does not sweep. */
const FIRST = 300_000

export async function deletedVersions(db: Kysely<Schema>): Promise<Deleted[]> {
  const rows = await db
    .selectFrom('versions')
    .select(['model', 'version', 'deleted_at'])
    .where('deleted_at', 'is not', null)
    .orderBy('deleted_at', 'desc')
    .orderBy('version')
    .execute()
  return rows.map(({ model, version, deleted_at }) => ({ model, version, deletedAt: deleted_at! }))
}

/**
 * Purges versions deleted more than `days` ago, then removes blobs that nothing refers to; nothing where another process
 * is at it or a backup is being read.
 */
export async function collect(store: Store, days: number): Promise<Retained> {
  const done = await withLease(store, SWEEP, async () => {
    const versions = Number.isFinite(days) ? await purge(store.db, days) : 0
    return { versions, ...(await store.blobs.sweep(() => referenced(store.db))) }
  })
  return done ?? { versions: 0, blobs: 0, bytes: 0 }
}

/**
 * Collects a few minutes after the start and then every so often, each time what is over by then; of several servers on one
 * database one at a time. `close` waits for what is under way.
 */
export function collectRegularly<What extends Retained>(
  collect: () => Promise<What>,
  every: number,
  told: { done: (what: What) => void; failed: (error: unknown) => void },
): { close(): Promise<void> } {
  let working: Promise<void> = Promise.resolve()
  let timer = every > 0 ? setTimeout(next, Math.min(FIRST, every)).unref() : undefined
  function next() {
    working = collect()
      .then(told.done, told.failed)
      .finally(() => {
        if (timer) timer = setTimeout(next, every).unref()
      })
  }
  return {
    async close() {
      clearTimeout(timer)
      timer = undefined
      await working
    },
  }
}

async function purge(db: Kysely<Schema>, days: number): Promise<number> {
  const before = new Date(Date.now() - days * DAY).toISOString()
  return db.transaction().execute(async (tx) => {
    const gone = await tx
      .deleteFrom('versions')
      .where('deleted_at', '<=', before)
      .returning(['model', 'version'])
      .execute()
    if (gone.length === 0) return 0
    for (const { model, version } of gone)
      await tx.deleteFrom('tags').where('model', '=', model).where('version', '=', version).execute()
    await announce(
      tx,
      gone.map(({ model, version }) => ({ event: 'version.purged', model, version })),
    )
    return gone.length
  })
}

/** Digests that rows name. */
async function referenced(db: Kysely<Schema>): Promise<ReadonlySet<string>> {
  const rows = await db
    .selectFrom('version_files')
    .select('digest')
    .union(db.selectFrom('datasets').select('digest'))
    .union(db.selectFrom('run_files').select('digest'))
    .union(db.selectFrom('artifacts').select('digest'))
    .execute()
  return new Set(rows.map(({ digest }) => digest))
}
