import type { Store } from './store.ts'

/** A judged window of requests; `judgement` is a JSON value that the caller knows. */
export interface StoredWindow {
  id: number
  at: string
  judgement: unknown
}

/** Windows kept of a version. */
const KEPT = 2_000

/** Judged windows of requests by version, bounded. */
export class Windows {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async add(model: string, version: number, judgement: unknown): Promise<void> {
    const row = { model, version, at: new Date().toISOString(), judgement: JSON.stringify(judgement) }
    await this.#db.insertInto('drift_windows').values(row).execute()
    const oldest = await this.#of(model, version).select('id').orderBy('id', 'desc').offset(KEPT).limit(1).execute()
    if (oldest[0]) {
      await this.#db
        .deleteFrom('drift_windows')
        .where('model', '=', model)
        .where('version', '=', version)
        .where('id', '<=', oldest[0].id)
        .execute()
    }
  }

  /** The newest, oldest of them first. */
  async list(model: string, version: number, limit: number): Promise<StoredWindow[]> {
    const rows = await this.#of(model, version)
      .select(['id', 'at', 'judgement'])
      .orderBy('id', 'desc')
      .limit(limit)
      .execute()
    return rows.reverse().map(({ id, at, judgement }) => ({ id, at, judgement: JSON.parse(judgement) as unknown }))
  }

  #of(model: string, version: number) {
    return this.#db.selectFrom('drift_windows').where('model', '=', model).where('version', '=', version)
  }
}
