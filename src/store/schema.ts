import { type Generated, type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { registry } from './registry-tables.ts'
import { type RolloutTables, rollout } from './rollout-schema.ts'
import { tracking } from './tracking-tables.ts'

/** Tables; times are ISO 8601 text, structured values JSON text, so that both mean the same in every database. */
export interface Schema extends RolloutTables {
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
  /** The versions that a version was made from. */
  version_sources: { model: string; version: number; source_model: string; source_version: number }
  version_files: { model: string; version: number; name: string; digest: string; bytes: number }
  aliases: { model: string; alias: string; version: number }
  batches: { id: string; boot: string; document: string }
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
    silenced_until: string | null
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
  tracked_experiments: {
    id: Generated<number>
    name: string
    state: string
    tags: string
    created_at: number
    updated_at: number
  }
  tracked_runs: {
    run: string
    experiment: number
    name: string
    user_id: string
    status: string
    state: string
    start_time: number
    end_time: number | null
  }
  /** Parameters and tags of runs; `kind` is `param` or `tag`. */
  tracked_values: { run: string; kind: string; name: string; value: string }
  tracked_metrics: { id: Generated<number>; run: string; name: string; value: string; step: number; at: number }
  tracked_models: {
    id: string
    experiment: number
    run: string | null
    name: string
    kind: string
    status: string
    params: string
    tags: string
    created_at: number
    updated_at: number
  }
  /** Where a version came from that an MLflow client registered: its URI, and the folder of its artifacts. */
  tracked_versions: {
    model: string
    version: number
    source: string
    path: string
    run: string | null
    description: string | null
  }
  artifacts: { path: string; digest: string; bytes: number }
  /** Work that only one process does at a time. */
  leases: { name: string; owner: string; until: number }
  tenants: { tenant: string; limits: string; created_at: string; closed_at: string | null }
  users: { tenant: string; name: string; role: string; created_at: string; disabled_at: string | null }
  service_keys: {
    id: string
    tenant: string
    name: string
    user_name: string | null
    role: string
    digest: string
    previous_digest: string | null
    previous_until: string | null
    models: string | null
    doors: string | null
    limits: string
    created_at: string
    created_by: string
    expires_at: string | null
    revoked_at: string | null
    last_used_at: string | null
  }
  /** Millionths of the currency: a request, a thousand tokens read, a thousand written. */
  prices: { tenant: string; model: string; request: number; input: number; output: number }
  /** What of a budget is spent or handed out, and what is known to be spent; millionths of the currency. */
  budgets: { owner: string; period: string; held: number; spent: number }
  usage: {
    tenant: string
    key_id: string
    model: string
    day: string
    requests: number
    refused: number
    input_tokens: number
    output_tokens: number
    cost: number
  }
  audit: {
    id: Generated<number>
    at: string
    tenant: string
    actor: string
    action: string
    target: string
    detail: string
    request_id: string
    outcome: string | null
  }
  history: {
    span: string
    at: string
    writer: string
    model: string
    version: number
    door: string
    requests: number
    rows: number
    errors: number
    refused: number
    prompt_tokens: number
    completion_tokens: number
    latency: string
    first_token: string
  }
  requests: {
    id: Generated<number>
    request_id: string
    at: string
    door: string
    model: string | null
    version: number | null
    code: string | null
    ms: number
    rows: number
    prompt_tokens: number | null
    completion_tokens: number | null
    input: string | null
    output: string | null
  }
  error_groups: {
    fingerprint: string
    code: string
    event: string
    model: string
    message: string
    count: number
    first_at: string
    last_at: string
    version: number | null
    requests: string
    detail: string | null
  }
  alert_rules: { name: string; rule: string; model: string | null; created_at: string }
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

/** Who may do what, what it costs, and who did what. */
const access: Migration = {
  async up(db: Kysely<unknown>) {
    const { schema } = db
    await schema
      .createTable('tenants')
      .addColumn('tenant', 'text', (c) => c.primaryKey())
      .addColumn('limits', 'text', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addColumn('closed_at', 'text')
      .execute()
    await schema
      .createTable('users')
      .addColumn('tenant', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('role', 'text', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addColumn('disabled_at', 'text')
      .addPrimaryKeyConstraint('users_key', ['tenant', 'name'])
      .execute()
    await schema
      .createTable('service_keys')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('tenant', 'text', (c) => c.notNull())
      .addColumn('name', 'text', (c) => c.notNull())
      .addColumn('user_name', 'text')
      .addColumn('role', 'text', (c) => c.notNull())
      .addColumn('digest', 'text', (c) => c.notNull())
      .addColumn('previous_digest', 'text')
      .addColumn('previous_until', 'text')
      .addColumn('models', 'text')
      .addColumn('doors', 'text')
      .addColumn('limits', 'text', (c) => c.notNull())
      .addColumn('created_at', 'text', (c) => c.notNull())
      .addColumn('created_by', 'text', (c) => c.notNull())
      .addColumn('expires_at', 'text')
      .addColumn('revoked_at', 'text')
      .addColumn('last_used_at', 'text')
      .execute()
    await schema
      .createTable('prices')
      .addColumn('tenant', 'text', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('request', 'bigint', (c) => c.notNull())
      .addColumn('input', 'bigint', (c) => c.notNull())
      .addColumn('output', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('prices_key', ['tenant', 'model'])
      .execute()
    await schema
      .createTable('budgets')
      .addColumn('owner', 'text', (c) => c.notNull())
      .addColumn('period', 'text', (c) => c.notNull())
      .addColumn('held', 'bigint', (c) => c.notNull())
      .addColumn('spent', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('budgets_key', ['owner', 'period'])
      .execute()
    await schema
      .createTable('usage')
      .addColumn('tenant', 'text', (c) => c.notNull())
      .addColumn('key_id', 'text', (c) => c.notNull())
      .addColumn('model', 'text', (c) => c.notNull())
      .addColumn('day', 'text', (c) => c.notNull())
      .addColumn('requests', 'bigint', (c) => c.notNull())
      .addColumn('refused', 'bigint', (c) => c.notNull())
      .addColumn('input_tokens', 'bigint', (c) => c.notNull())
      .addColumn('output_tokens', 'bigint', (c) => c.notNull())
      .addColumn('cost', 'bigint', (c) => c.notNull())
      .addPrimaryKeyConstraint('usage_key', ['tenant', 'day', 'model', 'key_id'])
      .execute()
    await schema
      .createTable('audit')
      .addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
      .addColumn('at', 'text', (c) => c.notNull())
      .addColumn('tenant', 'text', (c) => c.notNull())
      .addColumn('actor', 'text', (c) => c.notNull())
      .addColumn('action', 'text', (c) => c.notNull())
      .addColumn('target', 'text', (c) => c.notNull())
      .addColumn('detail', 'text', (c) => c.notNull())
      .addColumn('request_id', 'text', (c) => c.notNull())
      .execute()
    await schema.createIndex('audit_tenant').on('audit').columns(['tenant', 'id']).execute()
  },
}

/** What was counted by the minute and the hour. */
const history: Migration = {
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

/** Logged requests, and errors that are alike. */
const requests: Migration = {
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

const batches: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('batches')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('boot', 'text', (c) => c.notNull())
      .addColumn('document', 'text', (c) => c.notNull())
      .execute()
  },
}

/** Rules of alerts that people set; an alert may be silenced for a time. */
const alertRules: Migration = {
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

/** How what was audited ended: entries of earlier releases were written when it was done. */
const auditOutcome: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('audit').addColumn('outcome', 'text').execute()
    await sql`update audit set outcome = 'done'`.execute(db)
  },
}

/** Migrations in order; a released one is never changed. */
export const migrations: Record<string, Migration> = {
  '0001_first': first,
  '0002_watch': watch,
  '0003_dataset_purpose': purpose,
  '0004_access': access,
  '0005_history': history,
  '0006_requests': requests,
  '0007_batches': batches,
  '0008_rollout': rollout,
  '0009_registry': registry,
  '0010_alert_rules': alertRules,
  '0011_tracking': tracking,
  '0012_audit_outcome': auditOutcome,
}
