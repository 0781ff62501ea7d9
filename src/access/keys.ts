import { randomBytes } from 'node:crypto'
import type { Selectable } from 'kysely'
import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import type { Store } from '../store/store.ts'
import type { AccessTables } from '../store/tables/access.ts'
import { checkLimits, type Limits } from './limits.ts'
import { DEFAULT_TENANT, type Principal, type Role, roleAtLeast, roles } from './roles.ts'
import { hmacOf, idOf, newToken, sameDigest, withNewSecret } from './secret.ts'
import { inTurn } from './turns.ts'

/** A service key as it is shown: never the key itself. */
export interface Key {
  id: string
  /** How the key begins. */
  prefix: string
  tenant: string
  name: string
  /** The person it belongs to: it can do no more than that person may. */
  user?: string
  role: Role
  models?: string[]
  doors?: string[]
  limits: Limits
  createdAt: string
  createdBy: string
  expiresAt?: string
  revokedAt?: string
  lastUsedAt?: string
}

export interface NewKey {
  name: string
  role?: Role
  user?: string
  models?: string[]
  doors?: string[]
  limits?: Limits
  expiresAt?: string
}

interface Held {
  key: Key
  digest: Buffer
  previous: { digest: Buffer; until: number } | undefined
  principal: Principal
}

/** A person of a tenant; a disabled one's keys do nothing. */
export interface User {
  tenant: string
  name: string
  role: Role
  createdAt: string
  disabledAt?: string
}

const nobody = Buffer.alloc(32)
const now = () => new Date().toISOString()

/** Service keys and the users they may belong to, held in memory; of a key only its HMAC is stored. */
export class Keys {
  readonly #db: Store['db']
  readonly #digestOf: (token: string) => Buffer
  /** What commands on this machine send instead of a key while keys are required; it dies with the process. */
  readonly localToken = `local_${randomBytes(32).toString('base64url')}`
  readonly #localDigest: Buffer
  #keys = new Map<string, Held>()
  #users = new Map<string, User>()
  #people = new Map<string, User[]>()
  #openTenants = new Set<string>()
  /** Reads keys, users and open tenants from the database. */
  readonly load = inTurn(() => this.#read())

  constructor({ db }: Pick<Store, 'db'>, secret: Buffer) {
    this.#db = db
    this.#digestOf = hmacOf(secret)
    this.#localDigest = this.#digestOf(this.localToken)
  }

  async #read() {
    const [keys, users, open] = await Promise.all([
      this.#db.selectFrom('service_keys').selectAll().execute(),
      this.#db.selectFrom('users').selectAll().orderBy('tenant').execute(),
      this.#db.selectFrom('tenants').select('tenant').where('closed_at', 'is', null).execute(),
    ])
    this.#users = new Map(users.map((row) => [userKey(row.tenant, row.name), userOf(row)]))
    this.#people = Map.groupBy(this.#users.values(), ({ name }) => name)
    this.#openTenants = new Set(open.map(({ tenant }) => tenant))
    const held = new Map<string, Held>()
    for (const row of keys) {
      const key = keyOf(row)
      const before = this.#keys.get(key.id)
      const principal = this.#principalOf(key)
      const until = row.previous_until
      held.set(key.id, {
        key,
        digest: Buffer.from(row.digest, 'hex'),
        previous:
          row.previous_digest && until
            ? { digest: Buffer.from(row.previous_digest, 'hex'), until: Date.parse(until) }
            : undefined,
        // the same object while nothing changed: what hangs on it stays
        principal:
          before && JSON.stringify(before.principal) === JSON.stringify(principal) ? before.principal : principal,
      })
    }
    this.#keys = held
  }

  /** Whether a key exists that an admin could begin with. */
  get any(): boolean {
    return [...this.#keys.values()].some(({ key }) => this.#works(key))
  }

  /**
   * Who a key belongs to; undefined for one that is unknown, revoked, expired, or of a disabled user or closed tenant. All
   * of them take the same work.
   */
  authenticate(token: string): Principal | undefined {
    const held = this.#keys.get(idOf(token) ?? '')
    const digest = this.#digestOf(token)
    const current = sameDigest(digest, held?.digest ?? nobody)
    const previous = sameDigest(digest, held?.previous?.digest ?? nobody)
    if (!held || !(current || (previous && Date.now() < held.previous!.until))) return undefined
    return this.#works(held.key) ? held.principal : undefined
  }

  /** Whether it is what commands on this machine send. */
  isLocal(token: string): boolean {
    return sameDigest(this.#digestOf(token), this.#localDigest)
  }

  #works({ tenant, user, revokedAt, expiresAt }: Key): boolean {
    if (revokedAt !== undefined || !this.isOpen(tenant)) return false
    if (expiresAt !== undefined && Date.now() >= Date.parse(expiresAt)) return false
    if (user === undefined) return true
    const owner = this.#users.get(userKey(tenant, user))
    return owner !== undefined && owner.disabledAt === undefined
  }

  #principalOf({ id, name, tenant, role, user, models, doors }: Key): Principal {
    const owner = user === undefined ? undefined : this.#users.get(userKey(tenant, user))
    const least = owner && !roleAtLeast(owner.role, role) ? owner.role : role
    return {
      id,
      actor: user ?? `${name} (${id})`,
      tenant,
      role: least,
      operator: tenant === DEFAULT_TENANT && least === 'admin',
      ...(models && { models }),
      ...(doors && { doors }),
    }
  }

  /** Makes a key and tells it this once; throws NAME_INVALID, OPTION_INVALID or USER_NOT_FOUND. */
  async create(tenant: string, by: string, given: NewKey): Promise<{ key: Key; token: string }> {
    const { name, role = 'user', user, models, doors, limits = {}, expiresAt } = given
    checkName(name)
    if (!roles.includes(role)) throw invalid('role', `expected ${roles.join(', ')}, got "${role}"`)
    if (expiresAt !== undefined && !(Date.parse(expiresAt) > Date.now())) throw invalid('expires', 'it is in the past')
    if (models && roleAtLeast(role, 'developer'))
      throw invalid('models', `a key for some models only can be a viewer or user, not a ${role}`)
    if (user !== undefined && !this.#users.has(userKey(tenant, user))) throw fail('USER_NOT_FOUND', { user })
    const { id, token } = newToken()
    await this.#db
      .insertInto('service_keys')
      .values({
        id,
        tenant,
        name,
        user_name: user ?? null,
        role,
        digest: this.#digestOf(token).toString('hex'),
        previous_digest: null,
        previous_until: null,
        models: models ? JSON.stringify(models) : null,
        doors: doors ? JSON.stringify(doors) : null,
        limits: JSON.stringify(checkLimits(limits)),
        created_at: now(),
        created_by: by,
        expires_at: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
        revoked_at: null,
        last_used_at: null,
      })
      .execute()
    await this.load()
    return { key: this.get(tenant, id), token }
  }

  /** Throws KEY_NOT_FOUND, also for a key of another tenant. */
  get(tenant: string, id: string): Key {
    const held = this.#keys.get(id)
    if (held?.key.tenant !== tenant) throw fail('KEY_NOT_FOUND', { key: id.slice(0, 40) })
    return held.key
  }

  /** Newest first. */
  list(tenant: string): Key[] {
    const all = [...this.#keys.values()].map(({ key }) => key).filter((key) => key.tenant === tenant)
    return all.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1))
  }

  limitsOf(id: string): Limits {
    return this.#keys.get(id)?.key.limits ?? {}
  }

  /** Gives a key a new secret; the old one works on for `grace` milliseconds. Throws KEY_NOT_FOUND. */
  async rotate(tenant: string, id: string, grace: number): Promise<{ key: Key; token: string }> {
    this.get(tenant, id)
    const token = withNewSecret(id)
    await this.#db
      .updateTable('service_keys')
      .set((e) => ({
        previous_digest: e.ref('digest'),
        previous_until: new Date(Date.now() + grace).toISOString(),
        digest: this.#digestOf(token).toString('hex'),
      }))
      .where('id', '=', id)
      .execute()
    await this.load()
    return { key: this.get(tenant, id), token }
  }

  /** Ends a key at once; throws KEY_NOT_FOUND. */
  async revoke(tenant: string, id: string): Promise<void> {
    this.get(tenant, id)
    await this.#db
      .updateTable('service_keys')
      .set({ revoked_at: now() })
      .where('id', '=', id)
      .where('revoked_at', 'is', null)
      .execute()
    await this.load()
  }

  async setLimits(tenant: string, id: string, limits: Limits): Promise<Key> {
    this.get(tenant, id)
    const json = JSON.stringify(checkLimits(limits))
    await this.#db.updateTable('service_keys').set({ limits: json }).where('id', '=', id).execute()
    await this.load()
    return this.get(tenant, id)
  }

  /** What a person is in each tenant that has them, by the tenants' names. */
  memberships(name: string): readonly User[] {
    return this.#people.get(name) ?? []
  }

  isOpen(tenant: string): boolean {
    return this.#openTenants.has(tenant)
  }

  users(tenant: string): User[] {
    return [...this.#users.values()].filter((user) => user.tenant === tenant)
  }

  /** Adds a user or changes the role or state of one; throws NAME_INVALID or OPTION_INVALID. */
  async setUser(
    tenant: string,
    name: string,
    { role, disabled = false }: { role: Role; disabled?: boolean },
  ): Promise<User> {
    if (!/^[\w.@+-]{1,128}$/.test(name)) throw fail('NAME_INVALID', { name: name.slice(0, 80) })
    if (!roles.includes(role)) throw invalid('role', `expected ${roles.join(', ')}, got "${role}"`)
    const state = { role, disabled_at: disabled ? now() : null }
    await this.#db
      .insertInto('users')
      .values({ tenant, name, created_at: now(), ...state })
      .onConflict((c) => c.columns(['tenant', 'name']).doUpdateSet(state))
      .execute()
    await this.load()
    return this.#users.get(userKey(tenant, name))!
  }
}

const invalid = (option: string, reason: string) => fail('OPTION_INVALID', { option, reason })
const userKey = (tenant: string, name: string) => `${tenant} ${name}`

const keyOf = (row: Selectable<AccessTables['service_keys']>): Key => ({
  id: row.id,
  prefix: `ath_${row.id}_`,
  tenant: row.tenant,
  name: row.name,
  role: row.role as Role,
  limits: JSON.parse(row.limits) as Limits,
  createdAt: row.created_at,
  createdBy: row.created_by,
  ...(row.user_name !== null && { user: row.user_name }),
  ...(row.models !== null && { models: JSON.parse(row.models) as string[] }),
  ...(row.doors !== null && { doors: JSON.parse(row.doors) as string[] }),
  ...(row.expires_at !== null && { expiresAt: row.expires_at }),
  ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
  ...(row.last_used_at !== null && { lastUsedAt: row.last_used_at }),
})

const userOf = (row: Selectable<AccessTables['users']>): User => ({
  tenant: row.tenant,
  name: row.name,
  role: row.role as Role,
  createdAt: row.created_at,
  ...(row.disabled_at !== null && { disabledAt: row.disabled_at }),
})
