import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Search, cards, tags, kept deletions, webhooks, and what several processes on one database need. */
export const registry: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema.alterTable('models').addColumn('card', 'text').execute()
    await schema.alterTable('versions').addColumn('deleted_at', 'text').execute()
    await schema.alterTable('runs').addColumn('owner', 'text').execute()
    await schema.alterTable('runs').addColumn('lease_until', 'integer').execute()
    await schema.alterTable('runs').addColumn('wanted', 'text').execute()
    await schema
      .createTable('run_files')
      .addColumn('run', 'text', (c) => c.notNull().references('runs.run').onDelete('cascade'))
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('digest', 'text', (c) => c.notNull())
      .addColumn('bytes', 'integer', (c) => c.notNull())
      .addPrimaryKeyConstraint('run_files_key', ['run', 'name'])
      .execute()
    await schema
      .createTable('version_sources')
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('source_model', 'text', (c) => c.notNull())
      .addColumn('source_version', 'integer', (c) => c.notNull())
      .addPrimaryKeyConstraint('version_sources_key', ['model', 'version', 'source_model', 'source_version'])
      .addForeignKeyConstraint('version_sources_version', ['model', 'version'], 'versions', ['model', 'version'], (c) =>
        c.onDelete('cascade'),
      )
      .execute()
    await schema.createIndex('version_sources_source').on('version_sources').column('source_model').execute()
    const ofModel = (table: string) =>
      schema
        .createTable(table)
        .addColumn('model', 'text', (c) => c.notNull().references('models.name').onDelete('cascade'))
    await ofModel('tags')
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('value', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('tags_key', ['model', 'version', 'name'])
      .execute()
    await schema
      .createTable('search_models')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('model', 'text', (c) => c.notNull().unique().references('models.name').onDelete('cascade'))
      .addColumn('version', 'integer', (c) => c.notNull())
      .addColumn('versions', 'integer', (c) => c.notNull())
      .addColumn('task', 'text', (c) => c.notNull())
      .addColumn('family', 'text', (c) => c.notNull())
      .addColumn('bytes', 'integer', (c) => c.notNull())
      .addColumn('updated_at', 'text', (c) => c.notNull())
      .addColumn('metrics', 'text', (c) => c.notNull())
      .addColumn('description', 'text')
      .execute()
    await schema.createIndex('search_models_updated').on('search_models').columns(['updated_at', 'model']).execute()
    const ofEntry = (table: string) =>
      schema
        .createTable(table)
        .addColumn('entry', 'integer', (c) => c.notNull().references('search_models.id').onDelete('cascade'))
    await ofEntry('search_terms')
      .addColumn('term', 'text', (c) => c.notNull())
      .addColumn('weight', 'integer', (c) => c.notNull())
      .addPrimaryKeyConstraint('search_terms_key', ['term', 'entry', 'weight'])
      .execute()
    await ofEntry('search_facets')
      .addColumn('kind', 'text', (c) => c.notNull())
      .addColumn('value', 'text', (c) => c.notNull())
      .addPrimaryKeyConstraint('search_facets_key', ['kind', 'value', 'entry'])
      .execute()
    await ofEntry('search_metrics')
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('value', 'real', (c) => c.notNull())
      .addPrimaryKeyConstraint('search_metrics_key', ['name', 'entry'])
      .execute()
    await schema.createIndex('search_metrics_value').on('search_metrics').columns(['name', 'value', 'entry']).execute()
    for (const table of ['search_terms', 'search_facets', 'search_metrics'])
      await schema.createIndex(`${table}_entry`).on(table).column('entry').execute()
    await schema
      .createTable('registry_state')
      .addColumn('id', 'integer', (c) => c.primaryKey())
      .addColumn('revision', 'integer', (c) => c.notNull())
      .execute()
    await sql`insert into registry_state (id, revision) values (1, 0)`.execute(db)
    await schema
      .createTable('webhooks')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('url', 'text', (c) => c.notNull())
      .addColumn('secret', 'text', (c) => c.notNull())
      .addColumn('events', 'text', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .execute()
    await schema
      .createTable('webhook_deliveries')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('webhook', 'text', (c) => c.notNull().references('webhooks.id').onDelete('cascade'))
      .addColumn('event', 'text', (c) => c.notNull())
      .addColumn('body', 'text', (c) => c.notNull())
      .addColumn('attempts', 'integer', (c) => c.notNull())
      .addColumn('next_at', 'integer', (c) => c.notNull())
      .execute()
    await schema
      .createTable('leases')
      .addColumn('name', 'text', (c) => c.primaryKey())
      .addColumn('owner', 'text', (c) => c.notNull())
      .addColumn('until', 'integer', (c) => c.notNull())
      .execute()
  },
}
