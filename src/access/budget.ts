import type { Store } from '../store/store.ts'

/** Share of a budget that is taken from the database at once. */
const SHARE = 0.01
/** Milliseconds for which a refusal of the database holds for others that want as much. */
const REFUSED_FOR = 1_000
/** Milliseconds without use after which what was taken is given back. */
const IDLE = 10_000

/**
 * What this process may spend of a budget in one period, in millionths. Parts of the budget are taken from the database
 * before anything is spent of them, so that neither several processes nor a killed one ever spend more than there is: what
 * a killed one had taken and not spent, at most a hundredth of the budget, counts as spent.
 */
export class Lease {
  readonly owner: string
  readonly period: string
  readonly #db: Store['db']
  #limit: number
  #free = 0
  #unsaved = 0
  #refused: { cost: number; at: number } | undefined
  #touched = 0
  #work: Promise<unknown> = Promise.resolve()

  constructor(db: Store['db'], owner: string, period: string, limit: number) {
    this.#db = db
    this.owner = owner
    this.period = period
    this.#limit = limit
  }

  /** A new limit, from the next part on; what is free is given back, so that it holds at once. */
  async setLimit(limit: number) {
    this.#limit = limit
    this.#refused = undefined
    await this.giveBack()
  }

  get free(): number {
    return this.#free
  }

  /** Sets aside of what is free. */
  take(cost: number) {
    this.#free -= cost
  }

  /** Ends what `take` began: `cost` of the `taken` was spent. */
  settle(taken: number, cost: number) {
    this.#free += taken - cost
    this.#unsaved += cost
    this.#touched = performance.now()
    if (taken > cost) this.#refused = undefined
  }

  /** Takes more of the budget, so that `cost` is free; false where the budget has not so much left. */
  async extend(cost: number): Promise<boolean> {
    const work = this.#work.then(() => this.#extend(cost))
    this.#work = work.catch(() => undefined)
    return work
  }

  async #extend(cost: number): Promise<boolean> {
    if (this.#free >= cost) return true
    const now = performance.now()
    const refused = this.#refused
    if (refused && cost >= refused.cost && now - refused.at < REFUSED_FOR) return false
    this.#touched = now
    const needed = cost - this.#free
    const part = Math.max(needed, Math.floor(this.#limit * SHARE))
    if ((await this.#hold(part)) || (part > needed && (await this.#hold(needed)))) return true
    this.#refused = { cost, at: now }
    return false
  }

  async #hold(count: number): Promise<boolean> {
    const { owner, period } = this
    const held = await this.#db.transaction().execute(async (tx) => {
      await tx
        .insertInto('budgets')
        .values({ owner, period, held: 0, spent: 0 })
        .onConflict((c) => c.columns(['owner', 'period']).doNothing())
        .execute()
      const { numUpdatedRows } = await tx
        .updateTable('budgets')
        .set((e) => ({ held: e('held', '+', count) }))
        .where('owner', '=', owner)
        .where('period', '=', period)
        .where('held', '<=', this.#limit - count)
        .executeTakeFirst()
      return numUpdatedRows > 0n
    })
    if (held) this.#free += count
    return held
  }

  /** Stores what was spent, and gives back what has not been used for a while. */
  async save() {
    const spent = this.#unsaved
    if (spent > 0) {
      this.#unsaved = 0
      try {
        await this.#row()
          .set((e) => ({ spent: e('spent', '+', spent) }))
          .execute()
      } catch (error) {
        this.#unsaved += spent
        throw error
      }
    }
    if (this.#free > 0 && performance.now() - this.#touched > IDLE) await this.giveBack()
  }

  /** Gives back what is free. */
  async giveBack() {
    const work = this.#work.then(async () => {
      const free = this.#free
      if (free <= 0) return
      this.#free -= free
      // if this fails it stays counted as spent: too little is spent rather than too much
      await this.#row()
        .set((e) => ({ held: e('held', '-', free) }))
        .execute()
    })
    this.#work = work.catch(() => undefined)
    await work
  }

  #row() {
    return this.#db.updateTable('budgets').where('owner', '=', this.owner).where('period', '=', this.period)
  }
}

/** What of a budget was spent in a period, and what is spent or set aside; in millionths. */
export async function budgetState(db: Store['db'], owner: string, period: string) {
  const row = await db
    .selectFrom('budgets')
    .select(['held', 'spent'])
    .where('owner', '=', owner)
    .where('period', '=', period)
    .executeTakeFirst()
  return { held: Number(row?.held ?? 0), spent: Number(row?.spent ?? 0) }
}
