import type { Selectable } from 'kysely'
import type { Store } from './store.ts'
import type { RunsTables } from './tables/runs.ts'

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

/** States in which a run has ended. */
export const finishedStates = ['done', 'failed', 'cancelled', 'interrupted'] as const
const isFinished = (state: string) => (finishedStates as readonly string[]).includes(state)

/** Milliseconds after which a run is free for others if its process does not say that it is at it. */
export const LEASE = 15_000

const now = () => new Date().toISOString()

/** Training runs and their events in the database. */
export class RunRecords {
  readonly #store: Pick<Store, 'db' | 'now'>
  readonly #owner: string | undefined

  /** With `owner`, runs that another process works on are not changed. */
  constructor(store: Pick<Store, 'db' | 'now'>, owner?: string) {
    this.#store = store
    this.#owner = owner
  }

  get #db() {
    return this.#store.db
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
      // another process may take the same number at the same time
      for (let number = count + 1; ; number++) {
        const record = { run: `${model}-${number}`, model, state: 'queued', spec, createdAt: at, updatedAt: at }
        const row = { ...record, spec: JSON.stringify(spec), metrics: null, version: null, error: null }
        const { createdAt, updatedAt, ...columns } = row
        const { numInsertedOrUpdatedRows = 0n } = await tx
          .insertInto('runs')
          .values({ ...columns, created_at: createdAt, updated_at: updatedAt })
          .onConflict((c) => c.doNothing())
          .executeTakeFirst()
        if (numInsertedOrUpdatedRows > 0n) return record
      }
    })
  }

  /** True unless another process works on the run. */
  async update(
    run: string,
    changes: { state?: string; metrics?: unknown; version?: number; error?: unknown },
    tx: Store['db'] = this.#db,
  ): Promise<boolean> {
    const { state, metrics, version, error } = changes
    let query = tx
      .updateTable('runs')
      .set({
        updated_at: now(),
        ...(state !== undefined && { state }),
        ...(state !== undefined && isFinished(state) && { owner: null, lease_until: null, wanted: null }),
        ...(version !== undefined && { version }),
        ...('metrics' in changes && { metrics: metrics === undefined ? null : JSON.stringify(metrics) }),
        ...('error' in changes && { error: error === undefined ? null : JSON.stringify(error) }),
      })
      .where('run', '=', run)
    const owner = this.#owner
    if (owner !== undefined) query = query.where((e) => e.or([e('owner', 'is', null), e('owner', '=', owner)]))
    return (await query.executeTakeFirst()).numUpdatedRows > 0n
  }

  /** Takes a run that nobody works on, or whose process has been silent for too long; undefined if it is not free. */
  async claim(run: string, owner: string): Promise<{ wanted: string | null } | undefined> {
    return this.#db
      .updateTable('runs')
      .set((e) => ({ owner, lease_until: e(this.#store.now(), '+', LEASE) }))
      .where('run', '=', run)
      .where('state', 'not in', finishedStates)
      .where((e) => e.or([e('owner', 'is', null), e('lease_until', '<', this.#store.now())]))
      .returning('wanted')
      .executeTakeFirst()
  }

  /** Says that its process is still at it, and is told how others want it to end; undefined if it is another's by now. */
  async hold(run: string, owner: string): Promise<{ wanted: string | null } | undefined> {
    return this.#db
      .updateTable('runs')
      .set((e) => ({ lease_until: e(this.#store.now(), '+', LEASE) }))
      .where('run', '=', run)
      .where('owner', '=', owner)
      .returning('wanted')
      .executeTakeFirst()
  }

  /** Whether a process works on a run. */
  async isHeld(run: string): Promise<boolean> {
    const held = this.#db.selectFrom('runs').select('run').where('run', '=', run).where('owner', 'is not', null)
    return (await held.where('lease_until', '>=', this.#store.now()).executeTakeFirst()) !== undefined
  }

  /** Gives a run back to whoever takes it next. */
  async handOver(run: string, owner: string) {
    await this.#db
      .updateTable('runs')
      .set({ state: 'queued', owner: null, lease_until: null })
      .where('run', '=', run)
      .where('owner', '=', owner)
      .execute()
  }

  /** Asks the process that works on a run to end it. */
  async want(run: string, wanted: 'cancelled' | 'interrupted') {
    await this.#db.updateTable('runs').set({ wanted }).where('run', '=', run).execute()
  }

  /** Runs that can be taken, oldest first. */
  async claimable(): Promise<string[]> {
    const rows = await this.#db
      .selectFrom('runs')
      .select('run')
      .where('state', 'not in', finishedStates)
      .where((e) => e.or([e('owner', 'is', null), e('lease_until', '<', this.#store.now())]))
      .orderBy('created_at')
      .limit(20)
      .execute()
    return rows.map(({ run }) => run)
  }

  /**
   * Files of a run that another process needs to go on with it: those that changed replace what was kept of their names,
   * those that are gone are forgotten, all at once. False, and nothing is kept, if the run is another process's by now.
   */
  async keepFiles(
    run: string,
    owner: string,
    { changed, gone }: { changed: readonly { name: string; digest: string; bytes: number }[]; gone: readonly string[] },
  ): Promise<boolean> {
    return this.#db.transaction().execute(async (tx) => {
      // changes nothing, but nobody can take the run before the files are kept
      const ours = tx.updateTable('runs').set({ owner }).where('run', '=', run).where('owner', '=', owner)
      if ((await ours.executeTakeFirst()).numUpdatedRows === 0n) return false
      if (gone.length > 0) await tx.deleteFrom('run_files').where('run', '=', run).where('name', 'in', gone).execute()
      for (const { name, ...content } of changed)
        await tx
          .insertInto('run_files')
          .values({ run, name, ...content })
          .onConflict((c) => c.columns(['run', 'name']).doUpdateSet(content))
          .execute()
      return true
    })
  }

  async files(run: string): Promise<{ name: string; digest: string }[]> {
    return this.#db.selectFrom('run_files').select(['name', 'digest']).where('run', '=', run).execute()
  }

  async dropFiles(run: string) {
    await this.#db.deleteFrom('run_files').where('run', '=', run).execute()
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

function fromRow(row: Selectable<RunsTables['runs']>): RunRecord {
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
