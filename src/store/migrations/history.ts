import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** What was counted by the minute and the hour. */
export const history: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('history')
      .addColumn('span', 'text', (c) => c.notNull())
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('writer', 'text', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('door', 'text', (c) => c.notNull())
      .addColumn('requests', 'integer', (c) => c.notNull())
      .addColumn('rows', 'integer', (c) => c.notNull())
      .addColumn('errors', 'integer', (c) => c.notNull())
      .addColumn('refused', 'integer', (c) => c.notNull())
      .addColumn('prompt_tokens', 'integer', (c) => c.notNull())
      .addColumn('completion_tokens', 'integer', (c) => c.notNull())
      .addColumn('latency', 'text', (c) => c.notNull())
      .addColumn('first_token', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('history_key', ['span', 'at', 'writer', 'model', 'version', 'door'])
      .execute()
  },
}
