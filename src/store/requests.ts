import type { Store } from './store.ts'

/** One logged request; contents only where they are kept. */
export interface LoggedRequest {
  requestId: string
  at: string
  door: string
  model?: string
  version?: number
  /** Why it failed. */
  code?: string
  ms: number
  rows: number
  promptTokens?: number
  completionTokens?: number
  input?: string
  output?: string
}

export interface RequestFilter {
  model?: string
  code?: string
  door?: string
  request?: string
  since?: string
  limit?: number
}

/** Requests kept; the oldest go first. */
const KEPT = 100_000

/** The log of requests, bounded in number and age. */
export class LoggedRequests {
  readonly #db: Store['db']
  readonly #lightly: Store['lightly']

  constructor({ db, lightly }: Pick<Store, 'db' | 'lightly'>) {
    this.#db = db
    this.#lightly = lightly
  }

  async add(requests: readonly LoggedRequest[]) {
    if (requests.length === 0) return
    const rows = requests.map(({ requestId, promptTokens, completionTokens, ...rest }) => ({
      model: null,
      version: null,
      code: null,
      input: null,
      output: null,
      ...rest,
      request_id: requestId,
      prompt_tokens: promptTokens ?? null,
      completion_tokens: completionTokens ?? null,
    }))
    await this.#lightly((transaction) => transaction.insertInto('requests').values(rows).execute())
  }

  /** Newest first, at most 1,000. */
  async list({ model, code, door, request, since, limit = 100 }: RequestFilter): Promise<LoggedRequest[]> {
    let query = this.#db.selectFrom('requests').selectAll().orderBy('id', 'desc').limit(Math.min(limit, 1000))
    if (model) query = query.where('model', '=', model)
    if (code) query = query.where('code', '=', code)
    if (door) query = query.where('door', '=', door)
    if (request) query = query.where('request_id', '=', request)
    if (since) query = query.where('at', '>=', since)
    return (await query.execute()).map(({ id: _id, request_id, prompt_tokens, completion_tokens, ...row }) => {
      const all = {
        requestId: request_id,
        ...row,
        promptTokens: prompt_tokens,
        completionTokens: completion_tokens,
      }
      return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null)) as unknown as LoggedRequest
    })
  }

  /** Drops what is older, and beyond the number that is kept. */
  async prune(before: string) {
    await this.#db.deleteFrom('requests').where('at', '<', before).execute()
    const [oldest] = await this.#db
      .selectFrom('requests')
      .select('id')
      .orderBy('id', 'desc')
      .offset(KEPT)
      .limit(1)
      .execute()
    if (oldest) await this.#db.deleteFrom('requests').where('id', '<=', oldest.id).execute()
  }
}
