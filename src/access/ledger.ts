import { AthanorError } from '../base/errors.ts'
import type { Store } from '../store/store.ts'
import { Account, type BudgetState, type Left, type Taken } from './account.ts'
import type { Limits } from './limits.ts'
import { costOf, type Prices } from './prices.ts'
import type { Principal } from './roles.ts'
import type { Usage } from './usage.ts'

/** Tokens that a request reads and writes: at most, before it; in fact, after it. */
export interface Tokens {
  input: number
  output: number
}

/** A request that was let in; settled exactly once. */
export interface Admission {
  /** Ends it: with the tokens that it took, or with nothing if it was not answered. */
  settle(tokens?: Tokens): void
}

const SAVE_EVERY = 1_000
const nothing: Tokens = { input: 0, output: 0 }

/**
 * Lets requests in by the limits of their tenant and key, and counts what they use. What a request can cost at most is set
 * aside before it runs, what it did cost is charged after it, and never more than was set aside.
 */
export class Ledger {
  readonly #db: Store['db']
  readonly #prices: Prices
  readonly #usage: Usage
  readonly #limits: { tenant: (tenant: string) => Limits; key: (id: string) => Limits }
  /** An account for each tenant, and for each key that has limits. */
  readonly #accounts = new Map<string, Account>()
  readonly #of = new WeakMap<Principal, readonly Account[]>()
  readonly #timer: NodeJS.Timeout
  #saving: Promise<void> = Promise.resolve()
  onError: (error: unknown) => void = () => {}

  constructor(
    { db }: Pick<Store, 'db'>,
    rooms: {
      prices: Prices
      usage: Usage
      limits: { tenant: (tenant: string) => Limits; key: (id: string) => Limits }
    },
  ) {
    this.#db = db
    this.#prices = rooms.prices
    this.#usage = rooms.usage
    this.#limits = rooms.limits
    this.#timer = setInterval(() => void this.save().catch((error) => this.onError(error)), SAVE_EVERY).unref()
  }

  /**
   * Lets a request in, or throws RATE_LIMITED or BUDGET_SPENT. `most` tells the tokens it can take at most; it is asked
   * only where a limit or price needs them.
   */
  async admit(who: Principal, model: string, most: () => Tokens): Promise<Admission> {
    const accounts = this.#accountsOf(who)
    const price = this.#prices.of(who.tenant, model)
    const perToken = price.input > 0 || price.output > 0
    const matters = accounts.some(({ counts }) => counts.tokens || (counts.cost && perToken))
    const bound = matters ? most() : nothing
    const tokens = bound.input + bound.output
    const cost = costOf(price, bound.input, bound.output)
    try {
      for (;;) {
        const now = performance.now()
        for (const account of accounts) account.check(tokens, now)
        const short = accounts.find((account) => account.lacks(cost))
        if (!short) break
        if (!(await short.lacks(cost)!.extend(cost))) throw short.spent()
      }
    } catch (error) {
      if (error instanceof AthanorError && error.status === 429) this.#usage.of(who.tenant, who.id, model).refused++
      throw error
    }
    // nothing is awaited between the check and this
    const taken = accounts.map((account) => account.take(tokens, cost))
    return this.#admission(who, model, { accounts, taken, price, bound: matters ? cost : undefined })
  }

  #admission(
    who: Principal,
    model: string,
    held: { accounts: readonly Account[]; taken: Taken[]; price: ReturnType<Prices['of']>; bound: number | undefined },
  ): Admission {
    let settled = false
    return {
      settle: (used) => {
        if (settled) return
        settled = true
        const { input, output } = used ?? nothing
        const most = held.bound ?? Number.POSITIVE_INFINITY
        const cost = used ? Math.min(costOf(held.price, input, output), most) : 0
        for (const [i, account] of held.accounts.entries()) account.settle(held.taken[i], input + output, cost)
        if (!used) return
        const counts = this.#usage.of(who.tenant, who.id, model)
        counts.requests++
        counts.input += input
        counts.output += output
        counts.cost += cost
      },
    }
  }

  /** What is left of the limits by minute, the nearest to its end of each kind. */
  left(who: Principal): { requests?: Left; tokens?: Left } {
    const now = performance.now()
    const nearest: { requests?: Left; tokens?: Left } = {}
    for (const account of this.#accountsOf(who)) {
      const left = account.left(now)
      for (const kind of ['requests', 'tokens'] as const) {
        const [one, other] = [left[kind], nearest[kind]]
        if (one && (!other || one.remaining < other.remaining)) nearest[kind] = one
      }
    }
    return nearest
  }

  /** The budgets of a principal's tenant and key, in the currency of the prices. */
  async budgets(who: Principal): Promise<BudgetState[]> {
    await this.save()
    const states = await Promise.all(this.#accountsOf(who).map((account) => account.budget()))
    return states.filter((state) => state !== undefined)
  }

  /** Takes over the limits that were changed. */
  async limitsChanged() {
    for (const account of this.#accounts.values()) {
      const [kind, name] = split(account.owner)
      await account.setLimits(this.#limits[kind](name))
    }
  }

  /** Stores usage and what was spent. */
  save(): Promise<void> {
    this.#saving = this.#saving
      .catch(() => undefined)
      .then(async () => {
        await this.#usage.save()
        for (const account of this.#accounts.values()) await account.save()
      })
    return this.#saving
  }

  async close() {
    clearInterval(this.#timer)
    await this.save()
    for (const account of this.#accounts.values()) await account.close()
  }

  #accountsOf(who: Principal): readonly Account[] {
    const known = this.#of.get(who)
    if (known) return known
    const accounts = [
      this.#account('tenant', who.tenant, `the tenant "${who.tenant}"`),
      this.#account('key', who.id, 'this key'),
    ]
    this.#of.set(who, accounts)
    return accounts
  }

  #account(kind: 'tenant' | 'key', name: string, told: string): Account {
    const owner = `${kind}:${name}`
    const known = this.#accounts.get(owner)
    if (known) return known
    const account = new Account(this.#db, owner, told, this.#limits[kind](name))
    this.#accounts.set(owner, account)
    return account
  }
}

const split = (owner: string): ['tenant' | 'key', string] => {
  const at = owner.indexOf(':')
  return [owner.slice(0, at) as 'tenant' | 'key', owner.slice(at + 1)]
}
