import { fail } from '../base/errors.ts'
import type { Store } from '../store/store.ts'
import { Audit } from './audit.ts'
import { Keys } from './keys.ts'
import { Ledger } from './ledger.ts'
import { Oidc, type OidcSettings } from './oidc.ts'
import { Prices } from './prices.ts'
import { DEFAULT_TENANT, type Principal } from './roles.ts'
import { readSecret } from './secret.ts'
import { Tenants } from './tenants.ts'
import { Usage } from './usage.ts'

/** Milliseconds after which a key that another process revoked does nothing here. */
const RELOAD = 1_000

/** The person at this machine, where no key is asked for. */
export const local: Principal = { id: 'local', actor: 'local', tenant: DEFAULT_TENANT, role: 'admin', operator: true }

/** Who may do what, and what it costs them. */
export class Access {
  readonly keys: Keys
  readonly tenants: Tenants
  readonly prices: Prices
  readonly usage: Usage
  readonly ledger: Ledger
  readonly audit: Audit
  /** Whether a request without a key is refused; otherwise it is the operator's. */
  readonly keysRequired: boolean
  /** Where people sign in; undefined for keys alone. */
  #oidc: Oidc | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #elsewhere = new WeakMap<Principal, Map<string, Principal>>()

  private constructor(store: Pick<Store, 'db' | 'home'>, keysRequired: boolean) {
    this.keysRequired = keysRequired
    this.keys = new Keys(store, readSecret(store.home))
    this.tenants = new Tenants(store)
    this.prices = new Prices(store)
    this.usage = new Usage(store)
    this.audit = new Audit(store)
    const limits = {
      tenant: (tenant: string) => this.tenants.limitsOf(tenant),
      key: (id: string) => this.keys.limitsOf(id),
    }
    this.ledger = new Ledger(store, { prices: this.prices, usage: this.usage, limits })
  }

  /** Throws OPTION_INVALID. */
  static async open(
    store: Pick<Store, 'db' | 'home' | 'shared'>,
    keysRequired: boolean,
    oidc?: OidcSettings,
  ): Promise<Access> {
    const access = new Access(store, keysRequired)
    if (oidc) access.#oidc = await Oidc.open(oidc, access.keys)
    await access.tenants.begin()
    await access.reload()
    // other processes make and revoke keys too; while the database is away those that are known go on working
    if (store.shared)
      access.#timer = setInterval(
        () => void access.reload().catch((error) => access.ledger.onError(error)),
        RELOAD,
      ).unref()
    return access
  }

  /** Where people sign in, and for which audience; undefined where only keys are known. */
  get login(): { issuer: string; audience: string } | undefined {
    const settings = this.#oidc?.settings
    return settings && { issuer: settings.issuer, audience: settings.audiences[0] }
  }

  /** Reads tenants, keys and prices from the database. */
  async reload() {
    await this.tenants.load()
    await Promise.all([this.keys.load(), this.prices.load()])
    await this.ledger.limitsChanged()
  }

  /**
   * Who sent these headers; undefined for nobody: no key where one is asked for, or one that does nothing. Where none is
   * asked for, what is not a key of ours is passed over, since stock clients always send something.
   */
  identify(headers: Headers): Principal | undefined {
    const token = tokenOf(headers)
    if (token?.startsWith('ath_')) return this.keys.authenticate(token)
    if (token && this.#oidc && Oidc.isToken(token)) return this.#oidc.known(token)
    if (!this.keysRequired) return local
    return this.keys.isLocal(token ?? '') ? local : undefined
  }

  /** What must be waited for before `identify` can tell a person by their token; throws LOGIN_UNAVAILABLE. */
  verify(headers: Headers): Promise<void> | undefined {
    if (!this.#oidc) return undefined
    const token = tokenOf(headers)
    return token && Oidc.isToken(token) ? this.#oidc.verify(token) : undefined
  }

  /** The principal in another tenant; throws TENANT_NOT_FOUND, and for all but operators as if there were no other. */
  inTenant(who: Principal, tenant: string): Principal {
    if (tenant === who.tenant) return who
    if (!who.operator) throw fail('TENANT_NOT_FOUND', { tenant: tenant.slice(0, 80) })
    this.tenants.get(tenant)
    const known = this.#elsewhere.get(who) ?? new Map<string, Principal>()
    this.#elsewhere.set(who, known)
    const found = known.get(tenant) ?? { ...who, tenant }
    known.set(tenant, found)
    return found
  }

  async close() {
    clearInterval(this.#timer)
    await this.ledger.close()
  }
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** The key of a request: a bearer token, or where clients of other services put it. */
function tokenOf(headers: Headers): string | undefined {
  const { authorization } = headers
  if (typeof authorization === 'string') {
    const space = authorization.indexOf(' ')
    if (authorization.slice(0, space).toLowerCase() === 'bearer') return authorization.slice(space + 1).trim()
  }
  for (const name of ['api-key', 'x-api-key'] as const) {
    const value = headers[name]
    if (typeof value === 'string') return value
  }
  return undefined
}
