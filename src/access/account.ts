import { fail } from '../base/errors.ts'
import type { Store } from '../store/store.ts'
import { Bucket } from './bucket.ts'
import { budgetState, Lease } from './budget.ts'
import { type Limits, MICRO, periodAt } from './limits.ts'

/** What was taken of an account for one request. */
export interface Taken {
  readonly lease: Lease | undefined
  readonly cost: number
  readonly tokens: number
}

/** How much of a limit is left, and the milliseconds until all of it is. */
export interface Left {
  limit: number
  remaining: number
  reset: number
}

/** A budget, and what is left of it until it starts anew. */
export interface BudgetState {
  budget: number
  period: string
  spent: number
  /** Neither spent nor set aside by another process. */
  remaining: number
  resetsAt?: string
}

/** The limits of one tenant or key, and what is used of them. All but budgets is counted by each process for itself. */
export class Account {
  readonly owner: string
  readonly #name: string
  readonly #db: Store['db']
  #limits: Limits = {}
  #requests: Bucket | undefined
  #tokens: Bucket | undefined
  #running = 0
  #lease: Lease | undefined
  #until = 0
  /** Leases of past periods that requests may still settle. */
  readonly #past = new Set<Lease>()

  /** `owner` is stored, `name` is what callers are told. */
  constructor(db: Store['db'], owner: string, name: string, limits: Limits) {
    this.#db = db
    this.owner = owner
    this.#name = name
    void this.setLimits(limits)
  }

  get limits(): Limits {
    return this.#limits
  }

  /** Whether prices matter, and tokens must be known beforehand. */
  get counts(): { cost: boolean; tokens: boolean } {
    return { cost: this.#limits.budget !== undefined, tokens: this.#tokens !== undefined }
  }

  async setLimits(limits: Limits) {
    const now = performance.now()
    const { requestsPerMinute, tokensPerMinute, budget, period } = limits
    if (requestsPerMinute !== this.#limits.requestsPerMinute)
      this.#requests = requestsPerMinute === undefined ? undefined : new Bucket(requestsPerMinute, now)
    if (tokensPerMinute !== this.#limits.tokensPerMinute)
      this.#tokens = tokensPerMinute === undefined ? undefined : new Bucket(tokensPerMinute, now)
    const same = period === this.#limits.period
    const unchanged = same && budget === this.#limits.budget
    this.#limits = limits
    const lease = this.#lease
    if (!lease || unchanged) return
    if (same && budget !== undefined) return lease.setLimit(Math.round(budget * MICRO))
    this.#retire(lease)
    await lease.giveBack()
  }

  /** Throws RATE_LIMITED or BUDGET_SPENT where a request is over a limit that waiting alone lifts; takes nothing. */
  check(tokens: number, now: number) {
    const { concurrent } = this.#limits
    if (concurrent !== undefined && this.#running >= concurrent) throw this.#limited(concurrent, 'at a time', 1_000)
    const waitRequests = this.#requests?.wait(1, now) ?? 0
    if (waitRequests > 0) throw this.#limited(this.#requests!.limit, 'requests a minute', waitRequests)
    const waitTokens = this.#tokens?.wait(tokens, now) ?? 0
    if (waitTokens > 0) throw this.#limited(this.#tokens!.limit, 'tokens a minute', waitTokens)
  }

  /** The lease to extend before `cost` can be taken; undefined where it can. */
  lacks(cost: number): Lease | undefined {
    const lease = this.#leaseNow()
    return lease && cost > lease.free ? lease : undefined
  }

  take(tokens: number, cost: number): Taken {
    const lease = this.#leaseNow()
    this.#running++
    this.#requests?.take(1)
    this.#tokens?.take(tokens)
    lease?.take(cost)
    return { lease, cost, tokens }
  }

  settle(taken: Taken, tokens: number, cost: number) {
    this.#running--
    this.#tokens?.take(tokens - taken.tokens)
    taken.lease?.settle(taken.cost, Math.min(cost, taken.cost))
  }

  spent(): Error {
    const { name, until } = periodAt(this.#limits.period ?? 'total', Date.now())
    const owner = `${this.#name} (${name})`
    if (until === Number.POSITIVE_INFINITY)
      return fail('BUDGET_SPENT', { owner, reset: 'An administrator can raise it: athanor tenants set.' })
    const retryAfter = Math.max(1, Math.ceil((until - Date.now()) / 1000))
    return fail('BUDGET_SPENT', { owner, retryAfter, reset: `It starts anew at ${new Date(until).toISOString()}.` })
  }

  /** What is left of the limits by minute. */
  left(now: number): { requests?: Left; tokens?: Left } {
    const of = (bucket: Bucket): Left => ({
      limit: bucket.limit,
      remaining: Math.max(0, Math.floor(bucket.level(now) + 1e-6)),
      reset: bucket.wait(bucket.limit, now),
    })
    return {
      ...(this.#requests && { requests: of(this.#requests) }),
      ...(this.#tokens && { tokens: of(this.#tokens) }),
    }
  }

  async budget(): Promise<BudgetState | undefined> {
    const { budget, period } = this.#limits
    if (budget === undefined || period === undefined) return undefined
    const free = this.#leaseNow()?.free ?? 0
    const { name, until } = periodAt(period, Date.now())
    const { held, spent } = await budgetState(this.#db, this.owner, name)
    return {
      budget,
      period: name,
      spent: spent / MICRO,
      remaining: Math.max(0, budget - (held - free) / MICRO),
      ...(Number.isFinite(until) && { resetsAt: new Date(until).toISOString() }),
    }
  }

  async save() {
    if (this.#lease) await this.#lease.save()
    for (const lease of this.#past) {
      await lease.save()
      await lease.giveBack()
      if (this.#running === 0) this.#past.delete(lease)
    }
  }

  async close() {
    if (this.#lease) this.#retire(this.#lease)
    for (const lease of this.#past) {
      await lease.save()
      await lease.giveBack()
    }
  }

  #retire(lease: Lease) {
    this.#past.add(lease)
    this.#lease = undefined
  }

  #leaseNow(): Lease | undefined {
    const { budget, period } = this.#limits
    if (budget === undefined || period === undefined) return undefined
    if (this.#lease && Date.now() < this.#until) return this.#lease
    if (this.#lease) this.#retire(this.#lease)
    const { name, until } = periodAt(period, Date.now())
    this.#until = until
    this.#lease = new Lease(this.#db, this.owner, name, Math.round(budget * MICRO))
    return this.#lease
  }

  #limited(limit: number, what: string, wait: number) {
    const seconds = Math.ceil(wait / 1000)
    return fail('RATE_LIMITED', { limit, what, owner: this.#name, seconds, retryAfter: Math.max(1, seconds) })
  }
}
