import type { Generated } from 'kysely'

/** Who may do what, what it costs, and who did what. */
export interface AccessTables {
  tenants: { tenant: string; limits: string; created_at: string; closed_at: string | null }
  users: { tenant: string; name: string; role: string; created_at: string; disabled_at: string | null }
  service_keys: {
    id: string
    tenant: string
    name: string
    user_name: string | null
    role: string
    digest: string
    previous_digest: string | null
    previous_until: string | null
    models: string | null
    doors: string | null
    limits: string
    created_at: string
    created_by: string
    expires_at: string | null
    revoked_at: string | null
    last_used_at: string | null
  }
  /** Millionths of the currency: a request, a thousand tokens read, a thousand written. */
  prices: { tenant: string; model: string; request: number; input: number; output: number }
  /** What of a budget is spent or handed out, and what is known to be spent; millionths of the currency. */
  budgets: { owner: string; period: string; held: number; spent: number }
  usage: {
    tenant: string
    key_id: string
    model: string
    day: string
    requests: number
    refused: number
    input_tokens: number
    output_tokens: number
    cost: number
  }
  audit: {
    id: Generated<number>
    at: string
    tenant: string
    actor: string
    action: string
    target: string
    detail: string
    request_id: string
    /** `done`, or the code of the error. */
    outcome: string | null
  }
}
