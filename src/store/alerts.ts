import type { Selectable } from 'kysely'
import type { Store } from './store.ts'
import type { WatchTables } from './tables/watch.ts'

/** An alert: what rule found it, about which version, and while it lasted. */
export type Alert = Omit<Selectable<WatchTables['alerts']>, 'until' | 'silenced' | 'silenced_until'> & {
  until?: string
  silenced: boolean
  /** Until when it is silenced; for good if absent. */
  silencedUntil?: string
}

export type AlertKey = Pick<Alert, 'rule' | 'model' | 'version'>

/** Alerts, open and past. */
export class AlertRecords {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async open(alert: AlertKey & Pick<Alert, 'message' | 'value' | 'level'>): Promise<Alert> {
    const row = { ...alert, since: new Date().toISOString(), until: null, silenced: 0, silenced_until: null }
    const { id } = await this.#db.insertInto('alerts').values(row).returning('id').executeTakeFirstOrThrow()
    return { ...alert, id, since: row.since, silenced: false }
  }

  async close(id: number): Promise<void> {
    await this.#db.updateTable('alerts').set({ until: new Date().toISOString() }).where('id', '=', id).execute()
  }

  /** True if there is such an alert. */
  async silence(id: number, until?: string): Promise<boolean> {
    const { numUpdatedRows } = await this.#db
      .updateTable('alerts')
      .set({ silenced: 1, silenced_until: until ?? null })
      .where('id', '=', id)
      .executeTakeFirst()
    return numUpdatedRows > 0n
  }

  /** Newest first. */
  async list({ open = false, limit = 100 }: { open?: boolean; limit?: number } = {}): Promise<Alert[]> {
    let query = this.#db.selectFrom('alerts').selectAll().orderBy('id', 'desc').limit(limit)
    if (open) query = query.where('until', 'is', null)
    return (await query.execute()).map(({ until, silenced, silenced_until, ...row }) => ({
      ...row,
      silenced: silenced === 1,
      ...(silenced_until !== null && { silencedUntil: silenced_until }),
      ...(until !== null && { until }),
    }))
  }
}
