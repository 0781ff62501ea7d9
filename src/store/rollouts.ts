import { countChange } from './revision.ts'
import type { Store } from './store.ts'

/** A change of a deployment: who made it, what it was, why, and the plan from then on. */
export interface DeploymentChange {
  id: number
  ref: string
  at: string
  who: string
  what: string
  detail: string
  plan: unknown
}

/** A deployment as it is kept: its plan and what its test has seen, as JSON values. */
export interface StoredDeployment {
  ref: string
  model: string
  plan: unknown
  evidence: unknown
}

/** Deployments, the trail of their changes, and how models are served. */
export class RolloutRecords {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async all(): Promise<StoredDeployment[]> {
    const rows = await this.#db.selectFrom('deployments').selectAll().orderBy('ref').execute()
    return rows.map(({ ref, model, plan, evidence }) => ({
      ref,
      model,
      plan: JSON.parse(plan) as unknown,
      evidence: JSON.parse(evidence) as unknown,
    }))
  }

  /**
   * Keeps a deployment's new plan and the change that led to it, both or neither. Where the plan must still be `from` but
   * another process has changed it, nothing is kept and the answer is false.
   */
  async change(
    { ref, model, plan, evidence }: StoredDeployment,
    { who, what, detail }: Pick<DeploymentChange, 'who' | 'what' | 'detail'>,
    from?: unknown,
  ): Promise<boolean> {
    const at = new Date().toISOString()
    const row = { plan: JSON.stringify(plan), evidence: JSON.stringify(evidence), updated_at: at }
    return this.#db.transaction().execute(async (tx) => {
      if (from !== undefined) {
        const same = tx.updateTable('deployments').set(row).where('ref', '=', ref)
        const { numUpdatedRows } = await same.where('plan', '=', JSON.stringify(from)).executeTakeFirst()
        if (numUpdatedRows === 0n) return false
      }
      await tx
        .insertInto('deployments')
        .values({ ref, model, ...row })
        .onConflict((c) => c.column('ref').doUpdateSet(row))
        .execute()
      await tx.insertInto('deployment_changes').values({ ref, at, who, what, detail, plan: row.plan }).execute()
      await countChange(tx)
      return true
    })
  }

  async saveEvidence(ref: string, evidence: unknown): Promise<void> {
    await this.#db
      .updateTable('deployments')
      .set({ evidence: JSON.stringify(evidence) })
      .where('ref', '=', ref)
      .execute()
  }

  /** Removes a deployment; its trail stays and gains a last line. */
  async remove(ref: string, { who, detail }: Pick<DeploymentChange, 'who' | 'detail'>): Promise<void> {
    await this.#db.transaction().execute(async (tx) => {
      await tx.deleteFrom('deployments').where('ref', '=', ref).execute()
      const at = new Date().toISOString()
      await tx.insertInto('deployment_changes').values({ ref, at, who, what: 'remove', detail, plan: 'null' }).execute()
      await countChange(tx)
    })
  }

  /** Newest first. */
  async changes({ ref, limit = 100 }: { ref?: string; limit?: number } = {}): Promise<DeploymentChange[]> {
    let query = this.#db.selectFrom('deployment_changes').selectAll().orderBy('id', 'desc').limit(limit)
    if (ref !== undefined) query = query.where('ref', '=', ref)
    return (await query.execute()).map((row) => ({ ...row, plan: JSON.parse(row.plan) as unknown }))
  }

  async servings(): Promise<{ model: string; settings: unknown }[]> {
    const rows = await this.#db.selectFrom('serving').selectAll().execute()
    return rows.map(({ model, settings }) => ({ model, settings: JSON.parse(settings) as unknown }))
  }

  async setServing(model: string, settings: unknown): Promise<void> {
    const row = { settings: JSON.stringify(settings) }
    await this.#db.transaction().execute(async (tx) => {
      await tx
        .insertInto('serving')
        .values({ model, ...row })
        .onConflict((c) => c.column('model').doUpdateSet(row))
        .execute()
      await countChange(tx)
    })
  }
}
