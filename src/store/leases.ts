import { newId } from '../base/ids.ts'
import type { Store } from './store.ts'

const LENGTH = 60_000

/**
 * Does work that only one process may do at a time, and none while another holds the lease `name`; undefined when it is
 * held. A lease of a process that died ends after a minute.
 */
export async function withLease<T>(
  store: Pick<Store, 'db' | 'now'>,
  name: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const { db } = store
  const owner = newId('lease')
  const take = () =>
    db
      .insertInto('leases')
      .values((e) => ({ name, owner, until: e(store.now(), '+', LENGTH) }))
      .onConflict((c) =>
        c
          .column('name')
          .doUpdateSet((e) => ({ owner, until: e(store.now(), '+', LENGTH) }))
          .where((e) => e.or([e('leases.until', '<', store.now()), e('leases.owner', '=', owner)])),
      )
      .executeTakeFirst()
  const { numInsertedOrUpdatedRows = 0n } = await take()
  if (numInsertedOrUpdatedRows === 0n) return undefined
  const timer = setInterval(() => void take().catch(() => undefined), LENGTH / 4).unref()
  try {
    return await work()
  } finally {
    clearInterval(timer)
    await db.deleteFrom('leases').where('name', '=', name).where('owner', '=', owner).execute()
  }
}
