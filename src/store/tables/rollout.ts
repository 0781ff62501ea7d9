import type { Generated } from 'kysely'

/** How models are served, which versions answer for a ref, and every change of that. Plans and evidence are JSON text. */
export interface RolloutTables {
  serving: { model: string; settings: string }
  deployments: { ref: string; model: string; plan: string; evidence: string; updated_at: string }
  deployment_changes: {
    id: Generated<number>
    ref: string
    at: string
    who: string
    what: string
    detail: string
    plan: string
  }
}
