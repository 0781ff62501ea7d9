import type { Store } from '../store/store.ts'
import { MICRO } from './limits.ts'

/** What was used; cost in the currency of the prices. */
export interface UsageRow {
  tenant: string
  day: string
  model: string
  key: string
  requests: number
  refused: number
  inputTokens: number
  outputTokens: number
  cost: number
}

interface Counts {
  requests: number
  refused: number
  input: number
  output: number
  cost: number
}

export interface UsageFilter {
  tenant?: string
  /** First and last day, `2026-11-26`. */
  from?: string
  to?: string
}

const DAY = 86_400_000

/** Usage by tenant, day, model and key: counted in memory, added to the database every second. */
export class Usage {
  readonly #db: Store['db']
  #counts = new Map<string, Counts>()
  #day = ''
  #dayEnds = 0

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Counts of a tenant, key and model today, to add to. */
  of(tenant: string, key: string, model: string): Counts {
    const now = Date.now()
    if (now >= this.#dayEnds || now < this.#dayEnds - DAY) {
      this.#day = new Date(now).toISOString().slice(0, 10)
      this.#dayEnds = (Math.floor(now / DAY) + 1) * DAY
    }
    const name = `${tenant}\n${this.#day}\n${model}\n${key}`
    const known = this.#counts.get(name)
    if (known) return known
    const fresh = { requests: 0, refused: 0, input: 0, output: 0, cost: 0 }
    this.#counts.set(name, fresh)
    return fresh
  }

  /** Adds what was counted to the database, in one transaction; what cannot be stored is counted on. */
  async save() {
    if (this.#counts.size === 0) return
    const batch = this.#counts
    this.#counts = new Map()
    const at = new Date().toISOString()
    try {
      await this.#db.transaction().execute(async (tx) => {
        const used = new Set<string>()
        for (const [name, { requests, refused, input, output, cost }] of batch) {
          const [tenant, day, model, key_id] = name.split('\n')
          used.add(key_id)
          await tx
            .insertInto('usage')
            .values({ tenant, day, model, key_id, requests, refused, input_tokens: input, output_tokens: output, cost })
            .onConflict((c) =>
              c.columns(['tenant', 'day', 'model', 'key_id']).doUpdateSet((e) => ({
                requests: e('usage.requests', '+', requests),
                refused: e('usage.refused', '+', refused),
                input_tokens: e('usage.input_tokens', '+', input),
                output_tokens: e('usage.output_tokens', '+', output),
                cost: e('usage.cost', '+', cost),
              })),
            )
            .execute()
        }
        await tx
          .updateTable('service_keys')
          .set({ last_used_at: at })
          .where('id', 'in', [...used])
          .execute()
      })
    } catch (error) {
      for (const [name, counts] of batch) {
        const now = this.#counts.get(name)
        if (!now) this.#counts.set(name, counts)
        else for (const part of Object.keys(counts) as (keyof Counts)[]) now[part] += counts[part]
      }
      throw error
    }
  }

  /** Newest day first, at most 100,000 rows. */
  async list({ tenant, from, to }: UsageFilter): Promise<UsageRow[]> {
    let query = this.#db.selectFrom('usage').selectAll()
    if (tenant !== undefined) query = query.where('tenant', '=', tenant)
    if (from !== undefined) query = query.where('day', '>=', from)
    if (to !== undefined) query = query.where('day', '<=', to)
    const rows = await query
      .orderBy('day', 'desc')
      .orderBy('tenant')
      .orderBy('model')
      .orderBy('key_id')
      .limit(100_000)
      .execute()
    return rows.map((row) => ({
      tenant: row.tenant,
      day: row.day,
      model: row.model,
      key: row.key_id,
      requests: Number(row.requests),
      refused: Number(row.refused),
      inputTokens: Number(row.input_tokens),
      outputTokens: Number(row.output_tokens),
      cost: Number(row.cost) / MICRO,
    }))
  }
}

const columns = ['tenant', 'day', 'model', 'key', 'requests', 'refused', 'inputTokens', 'outputTokens', 'cost'] as const

/** Usage as CSV (RFC 4180). No value begins like a formula: names start with a letter or digit. */
export const usageCsv = (rows: readonly UsageRow[]): string =>
  [columns.join(','), ...rows.map((row) => columns.map((column) => row[column]).join(','))]
    .map((line) => `${line}\r\n`)
    .join('')
