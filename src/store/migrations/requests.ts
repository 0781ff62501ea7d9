import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Logged requests, and errors that are alike. */
export const requests: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema
      .createTable('requests')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('request_id', 'text', (c) => c.notNull())
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('door', 'text', (c) => c.notNull())
      .addColumn('model', 'text')
      .addColumn('version', 'integer')
      .addColumn('code', 'text')
      .addColumn('ms', 'real', (c) => c.notNull())
      .addColumn('rows', 'integer', (c) => c.notNull())
      .addColumn('prompt_tokens', 'integer')
      .addColumn('completion_tokens', 'integer')
      .addColumn('input', 'text')
      .addColumn('output', 'text')
      .execute()
    await schema.createIndex('requests_at').on('requests').column('at').execute()
    await schema
      .createTable('error_groups')
      .addColumn('fingerprint', 'text', (c) => c.primaryKey())
      .addColumn('code', 'text', (c) => c.notNull())
      .addColumn('event', 'text', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('message', 'text', (c) => c.notNull())
      .addColumn('count', 'integer', (c) => c.notNull())
      .addColumn('first_at', 'text', (c) => c.notNull())
      .addColumn('last_at', 'text', (c) => c.notNull())
      .addColumn('version', 'integer')
      .addColumn('requests', 'text', (c) => c.notNull())
      .addColumn('detail', 'text')
      .execute()
    await schema.createIndex('error_groups_last_at').on('error_groups').column('last_at').execute()
  },
}
