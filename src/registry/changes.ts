import type { Transaction } from 'kysely'
import { countChange } from '../store/revision.ts'
import type { Schema } from '../store/schema.ts'

/** What can happen to the registry, as webhooks and people are told. */
export const registryEvents = {
  'version.registered': 'a version was registered',
  'version.deleted': 'a version was deleted; it is kept for a while',
  'version.restored': 'a deleted version is back',
  'version.purged': 'a deleted version is gone for good',
  'alias.set': 'an alias was pointed to a version',
  'alias.removed': 'an alias was removed',
  'card.changed': 'the card of a model was changed',
  'tags.changed': 'tags of a model or version were changed',
} as const
export type RegistryEvent = keyof typeof registryEvents

export interface Change {
  event: RegistryEvent
  model: string
  version?: number
  alias?: string
}

/** Deliveries that may wait for one webhook; beyond it new ones are left out. */
const WAITING = 1_000

/**
 * Tells of changes within their transaction: other processes see that the registry is another one, and what webhooks
 * are to be told is stored with it, so that neither is without the other.
 */
export async function announce(tx: Transaction<Schema>, changes: readonly Change[]) {
  const revision = await countChange(tx)
  const hooks = await tx.selectFrom('webhooks').selectAll().execute()
  for (const { id, events } of hooks) {
    const wanted = JSON.parse(events) as string[]
    const told = changes.filter(({ event }) => wanted.length === 0 || wanted.includes(event))
    if (told.length === 0) continue
    const { waiting } = await tx
      .selectFrom('webhook_deliveries')
      .select((e) => e.fn.countAll<number>().as('waiting'))
      .where('webhook', '=', id)
      .executeTakeFirstOrThrow()
    const rows = told.slice(0, Math.max(0, WAITING - waiting)).map(({ event, ...about }) => ({
      webhook: id,
      event,
      body: JSON.stringify({ type: event, timestamp: new Date().toISOString(), data: { ...about, revision } }),
      attempts: 0,
      next_at: 0,
    }))
    if (rows.length > 0) await tx.insertInto('webhook_deliveries').values(rows).execute()
  }
}
