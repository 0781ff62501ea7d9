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
}

/** The audit log: added to, never changed. */
export class Audit {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async add({ requestId, detail, ...entry }: Omit<AuditEntry, 'at'>): Promise<void> {
    const at = new Date().toISOString()
    await this.#db
      .insertInto('audit')
      .values({ ...entry, at, detail: JSON.stringify(withoutSecrets(detail)).slice(0, 4000), request_id: requestId })
      .execute()
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
    return (await query.execute()).map(({ id: _, request_id, detail, ...row }) => ({
      ...row,
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
