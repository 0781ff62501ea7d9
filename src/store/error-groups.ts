import type { Selectable } from 'kysely'
import type { Store } from './store.ts'
import type { WatchTables } from './tables/watch.ts'

/** Errors that are alike: what they are, how often and when they came, and the newest request ids. */
export interface ErrorGroup {
  fingerprint: string
  code: string
  event: string
  model: string
  message: string
  count: number
  firstAt: string
  lastAt: string
  version?: number
  requests: string[]
  /** For operators: cause and stack of the newest. */
  detail?: string
}

const REQUESTS = 10
const KEPT = 5_000

/** Groups of errors, bounded. */
export class ErrorGroups {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Adds what came since; groups that are known go on. */
  async add(groups: readonly ErrorGroup[]) {
    if (groups.length === 0) return
    await this.#db.transaction().execute(async (transaction) => {
      for (const { fingerprint, code, event, model, message, count, firstAt, lastAt, ...rest } of groups) {
        const known = await transaction
          .selectFrom('error_groups')
          .select('requests')
          .where('fingerprint', '=', fingerprint)
          .executeTakeFirst()
        const before = known ? (JSON.parse(known.requests) as string[]) : []
        const newest = {
          message,
          last_at: lastAt,
          version: rest.version ?? null,
          requests: JSON.stringify([...rest.requests, ...before].slice(0, REQUESTS)),
          detail: rest.detail ?? null,
        }
        await transaction
          .insertInto('error_groups')
          .values({ fingerprint, code, event, model, count, first_at: firstAt, ...newest })
          .onConflict((conflict) =>
            conflict
              .column('fingerprint')
              .doUpdateSet((e) => ({ ...newest, count: e('error_groups.count', '+', e.ref('excluded.count')) })),
          )
          .execute()
      }
    })
  }

  /** Newest first. */
  async list({ model, code, limit = 100 }: { model?: string; code?: string; limit?: number }): Promise<ErrorGroup[]> {
    let query = this.#db.selectFrom('error_groups').selectAll().orderBy('last_at', 'desc').limit(Math.min(limit, 1000))
    if (model) query = query.where('model', '=', model)
    if (code) query = query.where('code', '=', code)
    return (await query.execute()).map(groupOf)
  }

  async get(fingerprint: string): Promise<ErrorGroup | undefined> {
    const row = await this.#db
      .selectFrom('error_groups')
      .selectAll()
      .where('fingerprint', '=', fingerprint)
      .executeTakeFirst()
    return row && groupOf(row)
  }

  /** Drops groups that were last seen before, and the oldest beyond the number that is kept. */
  async prune(before: string) {
    await this.#db.deleteFrom('error_groups').where('last_at', '<', before).execute()
    const [oldest] = await this.#db
      .selectFrom('error_groups')
      .select('last_at')
      .orderBy('last_at', 'desc')
      .offset(KEPT)
      .limit(1)
      .execute()
    if (oldest) await this.#db.deleteFrom('error_groups').where('last_at', '<=', oldest.last_at).execute()
  }
}

type Row = Selectable<WatchTables['error_groups']>

const groupOf = ({ first_at, last_at, version, requests, detail, ...row }: Row): ErrorGroup => ({
  ...row,
  firstAt: first_at,
  lastAt: last_at,
  ...(version !== null && { version }),
  requests: JSON.parse(requests) as string[],
  ...(detail !== null && { detail }),
})
