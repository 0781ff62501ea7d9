import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const watch: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema
      .createTable('drift_windows')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('judgement', 'text', (c) => c.notNull())
      .execute()
    await schema.createIndex('drift_windows_version').on('drift_windows').columns(['model', 'version', 'id']).execute()
    await schema
      .createTable('alerts')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('rule', 'text', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('message', 'text', (c) => c.notNull())
      .addColumn('value', 'real', (c) => c.notNull())
      .addColumn('level', 'real', (c) => c.notNull())
      .addColumn('since', 'text', (c) => c.notNull())
      .addColumn('until', 'text')
      .addColumn('silenced', 'integer', (c) => c.notNull())
      .execute()
    await schema
      .createTable('predictions')
      .addColumn('request_id', 'text', (c) => c.notNull())
      .addColumn('row', 'integer', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('label', 'text', (c) => c.notNull())
      .addColumn('score', 'real', (c) => c.notNull())
      .addColumn('text', 'text')
      .addColumn('at', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('predictions_key', ['request_id', 'row'])
      .execute()
    await schema.createIndex('predictions_at').on('predictions').column('at').execute()
    await schema
      .createTable('feedback')
      .addColumn('request_id', 'text', (c) => c.notNull())
      .addColumn('row', 'integer', (c) => c.notNull())
      .addColumn('label', 'text', (c) => c.notNull())
      .addColumn('at', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('feedback_key', ['request_id', 'row'])
      .addForeignKeyConstraint(
        'feedback_prediction',
        ['request_id', 'row'],
        'predictions',
        ['request_id', 'row'],
        (c) => c.onDelete('cascade'),
      )
      .execute()
  },
}
