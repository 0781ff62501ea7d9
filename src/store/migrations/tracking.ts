import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** What clients of MLflow's tracking store: experiments, runs, their values and metrics, logged models, artifacts. */
export const tracking: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema
      .createTable('tracked_experiments')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('name', 'text', (c) => c.notNull().unique())
      .addColumn('state', 'text', (c) => c.notNull())
      .addColumn('tags', 'text', (c) => c.notNull())
      .addColumn('created_at', 'integer', (c) => c.notNull())
      .addColumn('updated_at', 'integer', (c) => c.notNull())
      .execute()
    await schema
      .createTable('tracked_runs')
      .addColumn('run', 'text', (c) => c.primaryKey())
      .addColumn('experiment', 'integer', (c) => c.notNull().references('tracked_experiments.id').onDelete('cascade'))
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('user_id', 'text', (c) => c.notNull())
      .addColumn('status', 'text', (c) => c.notNull())
      .addColumn('state', 'text', (c) => c.notNull())
      .addColumn('start_time', 'integer', (c) => c.notNull())
      .addColumn('end_time', 'integer')
      .execute()
    await schema
      .createIndex('tracked_runs_experiment')
      .on('tracked_runs')
      .columns(['experiment', 'start_time'])
      .execute()
    const ofRun = (table: string) =>
      schema
        .createTable(table)
        .addColumn('run', 'text', (c) => c.notNull().references('tracked_runs.run').onDelete('cascade'))
    await ofRun('tracked_values')
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('value', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('tracked_values_key', ['run', 'kind', 'name'])
      .execute()
    await ofRun('tracked_metrics')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('value', 'text', (c) => c.notNull())
      .addColumn('step', 'integer', (c) => c.notNull())
      .addColumn('at', 'integer', (c) => c.notNull())
      .execute()
    await schema.createIndex('tracked_metrics_run').on('tracked_metrics').columns(['run', 'name', 'id']).execute()
    await schema
      .createTable('tracked_models')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('experiment', 'integer', (c) => c.notNull().references('tracked_experiments.id').onDelete('cascade'))
      .addColumn('run', 'text')
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('status', 'text', (c) => c.notNull())
      .addColumn('params', 'text', (c) => c.notNull())
      .addColumn('tags', 'text', (c) => c.notNull())
      .addColumn('created_at', 'integer', (c) => c.notNull())
      .addColumn('updated_at', 'integer', (c) => c.notNull())
      .execute()
    await schema
      .createTable('tracked_versions')
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('source', 'text', (c) => c.notNull())
      .addColumn('path', 'text', (c) => c.notNull())
      .addColumn('run', 'text')
      .addColumn('description', 'text')
      .addPrimaryKeyConstraint('tracked_versions_key', ['model', 'version'])
      .addForeignKeyConstraint(
        'tracked_versions_version',
        ['model', 'version'],
        'versions',
        ['model', 'version'],
        (c) => c.onDelete('cascade'),
      )
      .execute()
    await schema
      .createTable('artifacts')
      .addColumn('path', 'text', (c) => c.primaryKey())
      .addColumn('digest', 'text', (c) => c.notNull())
      .addColumn('bytes', 'integer', (c) => c.notNull())
      .execute()
  },
}
