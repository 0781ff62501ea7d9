import type { Store } from '../store/store.ts'

/** Who did what, to what, when. */
export interface AuditEntry {
  at: string
  tenant: string
  actor: string
  action: string
  target: string
  detail: Record<string, unknown>
  requestId: string
  /** `done`, or the code of the error; absent while it goes on, or where the server was killed before it knew. */
  outcome?: string
}

/** The audit log: what callers change, by whom; entries are added and ended, never removed. */
export class Audit {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /**
   * Writes down what is about to be done, and gives what writes how it ended. A change may be in another database than this
   * log (each tenant has one), so no transaction could hold both: written first, no change is ever without its entry.
   */
  async begin({
    requestId,
    detail,
    ...entry
  }: Omit<AuditEntry, 'at' | 'outcome'>): Promise<(outcome: string) => Promise<void>> {
    const at = new Date().toISOString()
    const { id } = await this.#db
      .insertInto('audit')
      .values({ ...entry, at, detail: JSON.stringify(withoutSecrets(detail)).slice(0, 4000), request_id: requestId })
      .returning('id')
      .executeTakeFirstOrThrow()
    return async (outcome) => {
      // where the database has gone away meanwhile the entry stays as it was begun
      await this.#db
        .updateTable('audit')
        .set({ outcome })
        .where('id', '=', id)
        .execute()
        .catch(() => undefined)
    }
  }

  /** Newest first. */
  async list({
    tenant,
    actor,
    limit = 100,
  }: {
    tenant?: string
    actor?: string
    limit?: number
  }): Promise<AuditEntry[]> {
    let query = this.#db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit)
    if (tenant !== undefined) query = query.where('tenant', '=', tenant)
    if (actor !== undefined) query = query.where('actor', '=', actor)
    return (await query.execute()).map(({ id: _, request_id, detail, outcome, ...row }) => ({
      ...row,
      ...(outcome !== null && { outcome }),
      detail: readDetail(detail),
      requestId: request_id,
    }))
  }
}

const secret = /secret|password|token|authorization|^key$/i

/** What was sent, without what must not be kept. */
function withoutSecrets(detail: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(detail).map(([name, value]) => [name, typeof value === 'string' && secret.test(name) ? '…' : value]),
  )
}

/** A detail that was too long to keep whole is told as text. */
function readDetail(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json) as Record<string, unknown>
  } catch {
    return { cut: json }
  }
}
