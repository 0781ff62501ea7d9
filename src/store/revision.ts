import type { Transaction } from 'kysely'
import type { Schema } from './schema.ts'
import type { Store } from './store.ts'

/** Counts a change of what models there are or how they are served, within its transaction; the number after it. */
export async function countChange(tx: Transaction<Schema>): Promise<number> {
  const { revision } = await tx
    .updateTable('registry_state')
    .set((e) => ({ revision: e('revision', '+', 1) }))
    .where('id', '=', 1)
    .returning('revision')
    .executeTakeFirstOrThrow()
  return revision
}

/**
 * Looks for changes, by whichever process, until `close`; `onChange` is told of them, and once at first: something may have
 * changed since its caller read what there is.
 */
export function followChanges({ db }: Pick<Store, 'db'>, onChange: () => Promise<void>, every = 1_000) {
  let known: number | undefined
  const look = async () => {
    const { revision } = await db.selectFrom('registry_state').select('revision').executeTakeFirstOrThrow()
    if (revision !== known) await onChange()
    known = revision
  }
  const timer = setInterval(() => void look().catch(() => undefined), every).unref() // away: what is known stays
  return { close: () => clearInterval(timer) }
}
