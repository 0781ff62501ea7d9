import type { Store } from './store.ts'

/** A judged window of requests; `judgement` is a JSON value that the caller knows. */
export interface StoredWindow {
  id: number
  at: string
  judgement: unknown
}

/** Windows kept of a version, and how many more there may be until the oldest are looked for. */
const KEPT = 2_000
const MORE = 100

/** Judged windows of requests by version, bounded. */
export class Windows {
  readonly #db: Store['db']
  readonly #lightly: Store['lightly']

  constructor({ db, lightly }: Pick<Store, 'db' | 'lightly'>) {
    this.#db = db
    this.#lightly = lightly
  }

  async add(model: string, version: number, judgement: unknown): Promise<void> {
    const row = { model, version, at: new Date().toISOString(), judgement: JSON.stringify(judgement) }
    await this.#lightly(async (transaction) => {
      const { id } = await transaction.insertInto('drift_windows').values(row).returning('id').executeTakeFirstOrThrow()
      if (id % MORE !== 0) return
      const older = transaction.selectFrom('drift_windows').where('model', '=', model).where('version', '=', version)
      const oldest = await older.select('id').orderBy('id', 'desc').offset(KEPT).limit(1).executeTakeFirst()
      if (!oldest) return
      await transaction
        .deleteFrom('drift_windows')
        .where('model', '=', model)
        .where('version', '=', version)
        .where('id', '<=', oldest.id)
        .execute()
    })
  }

  /** The newest, oldest of them first. */
  async list(model: string, version: number, limit: number): Promise<StoredWindow[]> {
    const rows = await this.#db
      .selectFrom('drift_windows')
      .select(['id', 'at', 'judgement'])
      .where('model', '=', model)
      .where('version', '=', version)
      .orderBy('id', 'desc')
      .limit(limit)
      .execute()
    return rows.reverse().map(({ id, at, judgement }) => ({ id, at, judgement: JSON.parse(judgement) as unknown }))
  }
}
