import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** How what was audited ended: entries of before were written when it was done. */
export const auditOutcome: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('audit').addColumn('outcome', 'text').execute()
    await sql`update audit set outcome = 'done'`.execute(db)
  },
}
