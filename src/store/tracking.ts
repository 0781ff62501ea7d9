import { randomBytes } from 'node:crypto'
import type { Selectable } from 'kysely'
import { fail } from '../base/errors.ts'
import type { Schema } from './schema.ts'
import type { Store } from './store.ts'

export type Experiment = Selectable<Schema['tracked_experiments']>
export type TrackedRun = Selectable<Schema['tracked_runs']>
export type LoggedModel = Selectable<Schema['tracked_models']>
export interface TrackedMetric {
  name: string
  value: number
  step: number
  at: number
}

/** A run with the last value of each metric, and its parameters and tags. */
export interface RunData {
  run: TrackedRun
  metrics: TrackedMetric[]
  params: Record<string, string>
  tags: Record<string, string>
}

/** Runs of a search, and values of one statement. */
const MOST_RUNS = 5_000
const ROWS = 1_000
const id = () => randomBytes(16).toString('hex')

/** Experiments and runs as MLflow's clients log them. Numbers are text, so that NaN and infinities are kept. */
export class Tracking {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Throws ALREADY_EXISTS. */
  async createExperiment(name: string, tags: Record<string, string>): Promise<Experiment> {
    const now = Date.now()
    const row = { name, state: 'active', tags: JSON.stringify(tags), created_at: now, updated_at: now }
    const made = await this.#db
      .insertInto('tracked_experiments')
      .values(row)
      .onConflict((c) => c.doNothing())
      .returningAll()
      .executeTakeFirst()
    if (!made) throw fail('ALREADY_EXISTS', { what: `experiment "${name.slice(0, 80)}"` })
    return made
  }

  /** Throws TRACKED_NOT_FOUND. */
  async experiment(by: { id: number } | { name: string }): Promise<Experiment> {
    const query = this.#db.selectFrom('tracked_experiments').selectAll()
    const found = await ('id' in by
      ? query.where('id', '=', Number.isSafeInteger(by.id) ? by.id : -1)
      : query.where('name', '=', by.name)
    ).executeTakeFirst()
    if (!found) throw fail('TRACKED_NOT_FOUND', { what: `experiment "${'id' in by ? by.id : by.name.slice(0, 80)}"` })
    return found
  }

  /** The newest first. */
  experiments(): Promise<Experiment[]> {
    return this.#db.selectFrom('tracked_experiments').selectAll().orderBy('id', 'desc').limit(MOST_RUNS).execute()
  }

  async updateExperiment(id: number, changes: Partial<Pick<Experiment, 'name' | 'state' | 'tags'>>) {
    await this.experiment({ id })
    await this.#db
      .updateTable('tracked_experiments')
      .set({ ...changes, updated_at: Date.now() })
      .where('id', '=', id)
      .execute()
  }

  async createRun(about: Pick<TrackedRun, 'experiment' | 'name' | 'user_id' | 'start_time'>): Promise<TrackedRun> {
    await this.experiment({ id: about.experiment })
    const row = { ...about, run: id(), status: 'RUNNING', state: 'active', end_time: null }
    await this.#db.insertInto('tracked_runs').values(row).execute()
    return row
  }

  /** Throws TRACKED_NOT_FOUND. */
  async run(run: string): Promise<TrackedRun> {
    const found = await this.#db.selectFrom('tracked_runs').selectAll().where('run', '=', run).executeTakeFirst()
    if (!found) throw fail('TRACKED_NOT_FOUND', { what: `run "${run.slice(0, 80)}"` })
    return found
  }

  async updateRun(run: string, changes: Partial<Pick<TrackedRun, 'name' | 'status' | 'state' | 'end_time'>>) {
    await this.run(run)
    if (Object.keys(changes).length > 0)
      await this.#db.updateTable('tracked_runs').set(changes).where('run', '=', run).execute()
  }

  async data(run: string): Promise<RunData> {
    const [data] = await this.#withData([await this.run(run)])
    return data
  }

  /** Runs of experiments, the newest first. */
  async runs(experiments: readonly number[]): Promise<RunData[]> {
    if (experiments.length === 0) return []
    const rows = await this.#db
      .selectFrom('tracked_runs')
      .selectAll()
      .where('experiment', 'in', experiments)
      .orderBy('start_time', 'desc')
      .limit(MOST_RUNS)
      .execute()
    return this.#withData(rows)
  }

  async #withData(rows: readonly TrackedRun[]): Promise<RunData[]> {
    const all = new Map<string, RunData>()
    for (const run of rows) all.set(run.run, { run, metrics: [], params: {}, tags: {} })
    const names = [...all.keys()]
    for (let at = 0; at < names.length; at += ROWS) {
      const some = names.slice(at, at + ROWS)
      const values = await this.#db.selectFrom('tracked_values').selectAll().where('run', 'in', some).execute()
      for (const { run, kind, name, value } of values) all.get(run)![kind === 'param' ? 'params' : 'tags'][name] = value
      const last = await this.#db
        .selectFrom('tracked_metrics')
        .selectAll()
        .where('id', 'in', (e) =>
          e
            .selectFrom('tracked_metrics')
            .select((m) => m.fn.max('id').as('id'))
            .where('run', 'in', some)
            .groupBy(['run', 'name']),
        )
        .orderBy('id')
        .execute()
      for (const { run, ...metric } of last) all.get(run)!.metrics.push({ ...metric, value: Number(metric.value) })
    }
    return [...all.values()]
  }

  /** Stores values of a run; a parameter keeps its value: BAD_REQUEST for another. */
  async log(run: string, given: { metrics?: TrackedMetric[]; params?: [string, string][]; tags?: [string, string][] }) {
    await this.run(run)
    const { metrics = [], params = [], tags = [] } = given
    await this.#db.transaction().execute(async (tx) => {
      for (let at = 0; at < metrics.length; at += ROWS)
        await tx
          .insertInto('tracked_metrics')
          .values(metrics.slice(at, at + ROWS).map((metric) => ({ run, ...metric, value: String(metric.value) })))
          .execute()
      for (const [name, value] of tags)
        await tx
          .insertInto('tracked_values')
          .values({ run, kind: 'tag', name, value })
          .onConflict((c) => c.columns(['run', 'kind', 'name']).doUpdateSet({ value }))
          .execute()
      for (const [name, value] of params) {
        const row = { run, kind: 'param', name, value }
        await tx
          .insertInto('tracked_values')
          .values(row)
          .onConflict((c) => c.doNothing())
          .execute()
        const kept = tx.selectFrom('tracked_values').select('value').where('run', '=', run).where('kind', '=', 'param')
        const known = await kept.where('name', '=', name).executeTakeFirstOrThrow()
        if (known.value !== value)
          throw fail('BAD_REQUEST', { message: `parameter "${name.slice(0, 80)}" has another value already` })
      }
    })
  }

  async deleteTag(run: string, name: string) {
    await this.#db
      .deleteFrom('tracked_values')
      .where('run', '=', run)
      .where('kind', '=', 'tag')
      .where('name', '=', name)
      .execute()
  }

  /** All values of a metric in the order in which they came. */
  async history(run: string, name: string): Promise<TrackedMetric[]> {
    const rows = await this.#db
      .selectFrom('tracked_metrics')
      .select(['name', 'value', 'step', 'at'])
      .where('run', '=', run)
      .where('name', '=', name)
      .orderBy('id')
      .limit(25_000)
      .execute()
    return rows.map((row) => ({ ...row, value: Number(row.value) }))
  }

  async createModel(about: Pick<LoggedModel, 'experiment' | 'run' | 'name' | 'kind' | 'params' | 'tags'>) {
    await this.experiment({ id: about.experiment })
    const now = Date.now()
    const times = { created_at: now, updated_at: now }
    const row = { ...about, id: `m-${id()}`, status: 'LOGGED_MODEL_PENDING', ...times }
    await this.#db.insertInto('tracked_models').values(row).execute()
    return row
  }

  /** Throws TRACKED_NOT_FOUND. */
  async model(id: string): Promise<LoggedModel> {
    const found = await this.#db.selectFrom('tracked_models').selectAll().where('id', '=', id).executeTakeFirst()
    if (!found) throw fail('TRACKED_NOT_FOUND', { what: `logged model "${id.slice(0, 80)}"` })
    return found
  }

  async updateModel(id: string, changes: Partial<Pick<LoggedModel, 'status' | 'tags' | 'params'>>) {
    const query = this.#db.updateTable('tracked_models').set({ ...changes, updated_at: Date.now() })
    await query.where('id', '=', id).execute()
    return this.model(id)
  }
}
