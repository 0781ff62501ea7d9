import type { Store } from './store.ts'

/** One line of the stored log. */
export interface LogEntry {
  at: string
  level: 'info' | 'warn' | 'error'
  event: string
  code?: string
  message?: string
  hint?: string
  model?: string
  version?: number
  requestId?: string
  ms?: number
  /** For operators: cause and stack of an unexpected error. */
  detail?: string
}

export interface LogFilter {
  level?: string
  model?: string
  code?: string
  request?: string
  since?: string
  limit?: number
}

/** Entries kept; the oldest go first. */
const KEPT = 100_000
/** Entries of one statement: SQLite takes 32,766 values, PostgreSQL 65,535. */
const AT_ONCE = 1_000

/** The stored log: errors and notable events, bounded. */
export class LogEntries {
  readonly #db: Store['db']
  #sincePrune = 0

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async add(entries: readonly LogEntry[]) {
    for (let from = 0; from < entries.length; from += AT_ONCE) await this.#add(entries.slice(from, from + AT_ONCE))
  }

  async #add(entries: readonly LogEntry[]) {
    await this.#db
      .insertInto('log_entries')
      .values(
        entries.map(({ requestId, ...entry }) => ({
          code: null,
          message: null,
          hint: null,
          model: null,
          version: null,
          ms: null,
          detail: null,
          ...entry,
          request_id: requestId ?? null,
        })),
      )
      .execute()
    this.#sincePrune += entries.length
    if (this.#sincePrune >= 1000) {
      this.#sincePrune = 0
      const newest = await this.#db
        .selectFrom('log_entries')
        .select((e) => e.fn.max('id').as('id'))
        .executeTakeFirst()
      await this.#db
        .deleteFrom('log_entries')
        .where('id', '<', Number(newest?.id ?? 0) - KEPT)
        .execute()
    }
  }

  /** Newest first, at most 1,000. */
  async list({ level, model, code, request, since, limit = 100 }: LogFilter): Promise<LogEntry[]> {
    let query = this.#db.selectFrom('log_entries').selectAll().orderBy('id', 'desc').limit(Math.min(limit, 1000))
    if (level) query = query.where('level', '=', level)
    if (model) query = query.where('model', '=', model)
    if (code) query = query.where('code', '=', code)
    if (request) query = query.where('request_id', '=', request)
    if (since) query = query.where('at', '>=', since)
    const rows = await query.execute()
    return rows.map(({ id: _id, request_id, ...row }) => {
      const given = Object.entries({ ...row, requestId: request_id }).filter(([, value]) => value !== null)
      return Object.fromEntries(given) as unknown as LogEntry
    })
  }
}
