import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const first: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema
      .createTable('models')
      .addColumn('name', 'text', (c) => c.primaryKey())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addColumn('last_version', 'integer', (c) => c.notNull())
      .execute()
    await schema
      .createTable('versions')
      .addColumn('model', 'text', (c) => c.notNull().references('models.name').onDelete('cascade'))
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('manifest', 'text', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('versions_key', ['model', 'version'])
      .execute()
    await schema
      .createTable('version_files')
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('digest', 'text', (c) => c.notNull())
      .addColumn('bytes', 'integer', (c) => c.notNull())
      .addPrimaryKeyConstraint('version_files_key', ['model', 'version', 'name'])
      .addForeignKeyConstraint('version_files_version', ['model', 'version'], 'versions', ['model', 'version'], (c) =>
        c.onDelete('cascade'),
      )
      .execute()
    await schema.createIndex('version_files_digest').on('version_files').column('digest').execute()
    await schema
      .createTable('aliases')
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('alias', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addPrimaryKeyConstraint('aliases_key', ['model', 'alias'])
      .addForeignKeyConstraint('aliases_version', ['model', 'version'], 'versions', ['model', 'version'], (c) =>
        c.onDelete('cascade'),
      )
      .execute()
    await schema
      .createTable('datasets')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('filename', 'text', (c) => c.notNull())
      .addColumn('digest', 'text', (c) => c.notNull())
      .addColumn('bytes', 'integer', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .execute()
    await schema
      .createTable('runs')
      .addColumn('run', 'text', (c) => c.primaryKey())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('state', 'text', (c) => c.notNull())
      .addColumn('spec', 'text', (c) => c.notNull())
      .addColumn('metrics', 'text')
      .addColumn('version', 'integer')
      .addColumn('error', 'text')
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addColumn('updated_at', 'text', (c) => c.notNull())
      .execute()
    await schema
      .createTable('run_events')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('run', 'text', (c) => c.notNull().references('runs.run').onDelete('cascade'))
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('event', 'text', (c) => c.notNull())
      .execute()
    await schema.createIndex('run_events_run').on('run_events').columns(['run', 'id']).execute()
    await schema
      .createTable('log_entries')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('level', 'text', (c) => c.notNull())
      .addColumn('event', 'text', (c) => c.notNull())
      .addColumn('code', 'text')
      .addColumn('message', 'text')
      .addColumn('hint', 'text')
      .addColumn('model', 'text')
      .addColumn('version', 'integer')
      .addColumn('request_id', 'text')
      .addColumn('ms', 'real')
      .addColumn('detail', 'text')
      .execute()
  },
}
