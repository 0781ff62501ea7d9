import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** What a file was uploaded for: `train`, or a word of the protocol that it came by. */
export const purpose: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .alterTable('datasets')
      .addColumn('purpose', 'text', (c) => c.notNull().defaultTo('train'))
      .execute()
  },
}
