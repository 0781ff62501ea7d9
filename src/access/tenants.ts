import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import type { Store } from '../store/store.ts'
import { checkLimits, type Limits } from './limits.ts'
import { DEFAULT_TENANT } from './roles.ts'
import { inTurn } from './turns.ts'

/** A project with models, data and keys of its own. */
export interface Tenant {
  tenant: string
  limits: Limits
  createdAt: string
  /** Its keys do nothing from then on; what it has is kept. */
  closedAt?: string
}

const now = () => new Date().toISOString()

/** Tenants, held in memory; `default` is always there. */
export class Tenants {
  readonly #db: Store['db']
  #tenants = new Map<string, Tenant>()
  readonly load = inTurn(() => this.#read())

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Makes the tenant `default` where it is missing. */
  async begin() {
    await this.#db
      .insertInto('tenants')
      .values({ tenant: DEFAULT_TENANT, limits: '{}', created_at: now(), closed_at: null })
      .onConflict((c) => c.column('tenant').doNothing())
      .execute()
  }

  async #read() {
    const rows = await this.#db.selectFrom('tenants').selectAll().orderBy('tenant').execute()
    this.#tenants = new Map(
      rows.map(({ tenant, limits, created_at, closed_at }) => [
        tenant,
        {
          tenant,
          limits: JSON.parse(limits) as Limits,
          createdAt: created_at,
          ...(closed_at !== null && { closedAt: closed_at }),
        },
      ]),
    )
  }

  list(): Tenant[] {
    return [...this.#tenants.values()]
  }

  limitsOf(tenant: string): Limits {
    return this.#tenants.get(tenant)?.limits ?? {}
  }

  /** Throws TENANT_NOT_FOUND, also for a closed one. */
  get(tenant: string): Tenant {
    const known = this.#tenants.get(tenant)
    if (!known || known.closedAt !== undefined) throw fail('TENANT_NOT_FOUND', { tenant: tenant.slice(0, 80) })
    return known
  }

  /** Makes a tenant, opens a closed one again, or sets the limits of one; throws NAME_INVALID or OPTION_INVALID. */
  async set(tenant: string, limits: Limits | undefined): Promise<Tenant> {
    checkName(tenant)
    const json = JSON.stringify(checkLimits(limits ?? this.limitsOf(tenant)))
    await this.#db
      .insertInto('tenants')
      .values({ tenant, limits: json, created_at: now(), closed_at: null })
      .onConflict((c) => c.column('tenant').doUpdateSet({ limits: json, closed_at: null }))
      .execute()
    await this.load()
    return this.get(tenant)
  }

  /** Throws TENANT_NOT_FOUND; the tenant `default` cannot be closed (OPTION_INVALID). */
  async close(tenant: string): Promise<void> {
    this.get(tenant)
    if (tenant === DEFAULT_TENANT)
      throw fail('OPTION_INVALID', { option: 'tenant', reason: `"${DEFAULT_TENANT}" cannot be closed` })
    await this.#db.updateTable('tenants').set({ closed_at: now() }).where('tenant', '=', tenant).execute()
    await this.load()
  }
}
