import type { Access } from '../access/access.ts'
import type { Left } from '../access/account.ts'
import { forbidden, type Permission, type Principal } from '../access/roles.ts'
import { fail } from '../base/errors.ts'
import type { House } from './route.ts'
import { viewOf } from './view.ts'

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** An operator acts for another tenant by naming it here. */
const TENANT_HEADER = 'x-athanor-tenant'

/** Where every request of every door passes: who sends it, whether they may, and the house they find behind it. */
export class Gate {
  readonly #access: Access
  readonly #houseOf: (tenant: string) => House | Promise<House>
  readonly #views = new WeakMap<Principal, House>()

  constructor(access: Access, houseOf: (tenant: string) => House | Promise<House>) {
    this.#access = access
    this.#houseOf = houseOf
  }

  /**
   * Who may pass; undefined for nobody at what is open to all. A promise only where a token must be verified first. Throws
   * UNAUTHORIZED, FORBIDDEN, TENANT_NOT_FOUND or LOGIN_UNAVAILABLE.
   */
  check(
    headers: Headers,
    permission: Permission,
    door: string,
  ): Principal | undefined | Promise<Principal | undefined> {
    const verifying = this.#access.verify(headers)
    if (verifying) return verifying.then(() => this.#pass(headers, permission, door))
    return this.#pass(headers, permission, door)
  }

  #pass(headers: Headers, permission: Permission, door: string): Principal | undefined {
    const who = this.#access.identify(headers)
    if (!who) {
      if (permission === 'public') return undefined
      throw fail('UNAUTHORIZED')
    }
    const reason = forbidden(who, permission, door)
    if (reason !== undefined) throw fail('FORBIDDEN', { reason })
    const tenant = headers[TENANT_HEADER]
    return typeof tenant === 'string' ? this.#access.inTenant(who, tenant) : who
  }

  /** The house as a principal may use it. */
  house(who: Principal): House | Promise<House> {
    const known = this.#views.get(who)
    if (known) return known
    const house = this.#houseOf(who.tenant)
    return house instanceof Promise ? house.then((opened) => this.#view(opened, who)) : this.#view(house, who)
  }

  #view(house: House, who: Principal): House {
    const view = viewOf(house, who)
    this.#views.set(who, view)
    return view
  }

  /** OpenAI's headers of what is left of the limits by minute. */
  headers(who: Principal): Record<string, string> {
    const left = this.#access.ledger.left(who)
    const named = (kind: string, one: Left | undefined) =>
      one && {
        [`x-ratelimit-limit-${kind}`]: String(one.limit),
        [`x-ratelimit-remaining-${kind}`]: String(one.remaining),
        [`x-ratelimit-reset-${kind}`]: duration(one.reset),
      }
    return { ...named('requests', left.requests), ...named('tokens', left.tokens) }
  }
}

/** A time in OpenAI's form: `1m30s`, `12ms`. */
function duration(ms: number): string {
  if (ms < 1000) return `${Math.ceil(ms)}ms`
  const seconds = Math.ceil(ms / 1000)
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`
}
