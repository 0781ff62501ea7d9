import type { Store } from './store.ts'

/** A run as it is stored: `spec`, `metrics` and `error` are JSON values that the caller knows. */
export interface RunRecord {
  run: string
  model: string
  state: string
  spec: unknown
  metrics?: unknown
  version?: number
  error?: unknown
  createdAt: string
  updatedAt: string
}

const now = () => new Date().toISOString()

/** Training runs and their events in the database. */
export class RunRecords {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Stores a new run named `<model>-<n>`, n one more than the runs of that model so far. */
  async create(model: string, spec: unknown): Promise<RunRecord> {
    const at = now()
    return this.#db.transaction().execute(async (tx) => {
      const { count } = await tx
        .selectFrom('runs')
        .select((e) => e.fn.countAll<number>().as('count'))
        .where('model', '=', model)
        .executeTakeFirstOrThrow()
      const record = { run: `${model}-${count + 1}`, model, state: 'queued', spec, createdAt: at, updatedAt: at }
      const row = {
        run: record.run,
        model,
        state: 'queued',
        spec: JSON.stringify(spec),
        metrics: null,
        version: null,
        error: null,
      }
      await tx
        .insertInto('runs')
        .values({ ...row, created_at: at, updated_at: at })
        .execute()
      return record
    })
  }

  async update(run: string, changes: { state?: string; metrics?: unknown; version?: number; error?: unknown }) {
    const { state, metrics, version, error } = changes
    await this.#db
      .updateTable('runs')
      .set({
        updated_at: now(),
        ...(state !== undefined && { state }),
        ...(version !== undefined && { version }),
        ...('metrics' in changes && { metrics: metrics === undefined ? null : JSON.stringify(metrics) }),
        ...('error' in changes && { error: error === undefined ? null : JSON.stringify(error) }),
      })
      .where('run', '=', run)
      .execute()
  }

  async get(run: string): Promise<RunRecord | undefined> {
    const row = await this.#db.selectFrom('runs').selectAll().where('run', '=', run).executeTakeFirst()
    return row && fromRow(row)
  }

  /** Newest first. */
  async list(limit = 200): Promise<RunRecord[]> {
    const rows = await this.#db
      .selectFrom('runs')
      .selectAll()
      .orderBy('created_at', 'desc')
      .orderBy('run', 'desc')
      .limit(limit)
      .execute()
    return rows.map(fromRow)
  }

  async addEvent(run: string, event: unknown): Promise<number> {
    const { id } = await this.#db
      .insertInto('run_events')
      .values({ run, at: now(), event: JSON.stringify(event) })
      .returning('id')
      .executeTakeFirstOrThrow()
    return id
  }

  async events(run: string, after: number): Promise<{ id: number; at: string; event: unknown }[]> {
    const rows = await this.#db
      .selectFrom('run_events')
      .select(['id', 'at', 'event'])
      .where('run', '=', run)
      .where('id', '>', after)
      .orderBy('id')
      .execute()
    return rows.map(({ id, at, event }) => ({ id, at, event: JSON.parse(event) as unknown }))
  }
}

function fromRow(row: {
  run: string
  model: string
  state: string
  spec: string
  metrics: string | null
  version: number | null
  error: string | null
  created_at: string
  updated_at: string
}): RunRecord {
  return {
    run: row.run,
    model: row.model,
    state: row.state,
    spec: JSON.parse(row.spec),
    ...(row.metrics && { metrics: JSON.parse(row.metrics) }),
    ...(row.version !== null && { version: row.version }),
    ...(row.error && { error: JSON.parse(row.error) }),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
