import { type Generated, type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Tables; times are ISO 8601 text, structured values JSON text, so that both mean the same in every database. */
export interface Schema {
  /** `card` is what people wrote about a model (src/registry/card.ts). */
  models: { name: string; created_at: string; last_version: number; card: Generated<string | null> }
  /** `deleted_at` tells that a version is deleted but still kept. */
  versions: {
    model: string
    version: number
    manifest: string
    created_at: string
    deleted_at: Generated<string | null>
  }
  version_files: { model: string; version: number; name: string; digest: string; bytes: number }
  /** The versions that a version was made from. */
  version_sources: { model: string; version: number; source_model: string; source_version: number }
  aliases: { model: string; alias: string; version: number }
  datasets: { id: string; filename: string; digest: string; bytes: number; created_at: string; purpose: string }
  runs: {
    run: string
    model: string
    state: string
    spec: string
    metrics: string | null
    version: number | null
    error: string | null
    created_at: string
    updated_at: string
    /** The process that works on it, until when if it does not say so again (milliseconds), and how others want it to end. */
    owner: Generated<string | null>
    lease_until: Generated<number | null>
    wanted: Generated<string | null>
  }
  run_files: { run: string; name: string; digest: string; bytes: number }
  run_events: { id: Generated<number>; run: string; at: string; event: string }
  log_entries: {
    id: Generated<number>
    at: string
    level: string
    event: string
    code: string | null
    message: string | null
    hint: string | null
    model: string | null
    version: number | null
    request_id: string | null
    ms: number | null
    detail: string | null
  }
  drift_windows: { id: Generated<number>; model: string; version: number; at: string; judgement: string }
  alerts: {
    id: Generated<number>
    rule: string
    model: string
    version: number
    message: string
    value: number
    level: number
    since: string
    until: string | null
    silenced: number
  }
  predictions: {
    request_id: string
    row: number
    model: string
    version: number
    label: string
    score: number
    text: string | null
    at: string
  }
  feedback: { request_id: string; row: number; label: string; at: string }
  /** Tags of a version, or with version 0 of a model. */
  tags: { model: string; version: number; name: string; value: string }
  /** What search answers of the newest version of each model; made anew with every change of the model. */
  search_models: {
    id: Generated<number>
    model: string
    version: number
    versions: number
    task: string
    family: string
    bytes: number
    updated_at: string
    metrics: string
    description: string | null
  }
  search_terms: { term: string; entry: number; weight: number }
  search_facets: { kind: string; value: string; entry: number }
  search_metrics: { name: string; entry: number; value: number }
  /** One row; its number grows with every change of the registry, by whichever process. */
  registry_state: { id: number; revision: number }
  webhooks: { id: string; url: string; secret: string; events: string; created_at: string }
  webhook_deliveries: {
    id: Generated<number>
    webhook: string
    event: string
    body: string
    attempts: number
    /** Milliseconds since 1970. */
    next_at: number
  }
  /** Work that only one process does at a time. */
  leases: { name: string; owner: string; until: number }
}

const first: Migration = {
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

const watch: Migration = {
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

/** What a file was uploaded for: `train`, or a word of the protocol that it came by. */
const purpose: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .alterTable('datasets')
      .addColumn('purpose', 'text', (c) => c.notNull().defaultTo('train'))
      .execute()
  },
}

/** Search, cards, tags, kept deletions, webhooks, and what several processes on one database need. */
const registry: Migration = {
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

/** Migrations in order; a released one is never changed. */
export const migrations: Record<string, Migration> = {
  '0001_first': first,
  '0002_watch': watch,
  '0003_dataset_purpose': purpose,
  '0004_registry': registry,
}
