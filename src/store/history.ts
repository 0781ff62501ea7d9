import type { Selectable } from 'kysely'
import type { Store } from './store.ts'
import type { WatchTables } from './tables/watch.ts'

/** What was counted in a minute or an hour from `at` on, of one version at one door, by one server process. */
export type HistoryRow = Omit<Stored, 'prompt_tokens' | 'completion_tokens' | 'first_token'> & {
  promptTokens: number
  completionTokens: number
  firstToken: string
}
type Stored = Selectable<WatchTables['history']>

export interface HistoryFilter {
  span: string
  since: string
  until: string
  model?: string
  version?: number
  door?: string
  limit: number
}

/** Rows that go into one statement: a row has 14 values, and SQLite takes 32,766. */
const AT_ONCE = 1000

/** Counted minutes and hours. */
export class HistoryRows {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Writes rows, each in place of what its writer wrote of the same stretch before: all of them, or none. */
  async put(rows: readonly HistoryRow[]) {
    if (rows.length === 0) return
    await this.#db.transaction().execute(async (transaction) => {
      for (let at = 0; at < rows.length; at += AT_ONCE) {
        const values = rows.slice(at, at + AT_ONCE).map(({ promptTokens, completionTokens, firstToken, ...row }) => ({
          ...row,
          prompt_tokens: promptTokens,
          completion_tokens: completionTokens,
          first_token: firstToken,
        }))
        await transaction
          .insertInto('history')
          .values(values)
          .onConflict((conflict) =>
            conflict.columns(['span', 'at', 'writer', 'model', 'version', 'door']).doUpdateSet((e) => ({
              requests: e.ref('excluded.requests'),
              rows: e.ref('excluded.rows'),
              errors: e.ref('excluded.errors'),
              refused: e.ref('excluded.refused'),
              prompt_tokens: e.ref('excluded.prompt_tokens'),
              completion_tokens: e.ref('excluded.completion_tokens'),
              latency: e.ref('excluded.latency'),
              first_token: e.ref('excluded.first_token'),
            })),
          )
          .execute()
      }
    })
  }

  /** Oldest first. */
  async list({ span, since, until, model, version, door, limit }: HistoryFilter): Promise<HistoryRow[]> {
    let query = this.#db
      .selectFrom('history')
      .selectAll()
      .where('span', '=', span)
      .where('at', '>=', since)
      .where('at', '<', until)
      .orderBy('at')
      .limit(limit)
    if (model !== undefined) query = query.where('model', '=', model)
    if (version !== undefined) query = query.where('version', '=', version)
    if (door !== undefined) query = query.where('door', '=', door)
    return (await query.execute()).map(({ prompt_tokens, completion_tokens, first_token, ...row }) => ({
      ...row,
      promptTokens: prompt_tokens,
      completionTokens: completion_tokens,
      firstToken: first_token,
    }))
  }

  async prune(span: string, before: string) {
    await this.#db.deleteFrom('history').where('span', '=', span).where('at', '<', before).execute()
  }
}
