import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Rules of alerts that people set; an alert may be silenced for a time. */
export const alertRules: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('alert_rules')
      .addColumn('name', 'text', (c) => c.primaryKey())
      .addColumn('rule', 'text', (c) => c.notNull())
      .addColumn('model', 'text')
      .addColumn('created_at', 'text', (c) => c.notNull())
      .execute()
    await db.schema.alterTable('alerts').addColumn('silenced_until', 'text').execute()
  },
}
