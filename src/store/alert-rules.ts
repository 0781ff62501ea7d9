import type { Store } from './store.ts'

/** A rule that someone set: what must not be so, of one model or all. */
export interface StoredRule {
  name: string
  rule: string
  model?: string
  createdAt: string
}

export class AlertRules {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Sets a rule, in place of one of the same name. */
  async put({ name, rule, model, createdAt }: StoredRule) {
    const values = { rule, model: model ?? null, created_at: createdAt }
    await this.#db
      .insertInto('alert_rules')
      .values({ name, ...values })
      .onConflict((conflict) => conflict.column('name').doUpdateSet(values))
      .execute()
  }

  /** True if there was such a rule. */
  async delete(name: string): Promise<boolean> {
    const { numDeletedRows } = await this.#db.deleteFrom('alert_rules').where('name', '=', name).executeTakeFirst()
    return numDeletedRows > 0n
  }

  async list(): Promise<StoredRule[]> {
    const rows = await this.#db.selectFrom('alert_rules').selectAll().orderBy('name').execute()
    return rows.map(({ model, created_at, ...row }) => ({
      ...row,
      createdAt: created_at,
      ...(model !== null && { model }),
    }))
  }
}
