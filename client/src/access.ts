import type { Http } from './http.ts'

export type Role = 'viewer' | 'user' | 'developer' | 'admin'

/** What a tenant or key may use; what is absent is not limited. */
export interface Limits {
  requestsPerMinute?: number
  tokensPerMinute?: number
  /** Requests at the same time. */
  concurrent?: number
  /** In the currency of the prices, spent by `period` (month). */
  budget?: number
  period?: 'day' | 'month' | 'total'
}

export interface NewKey {
  name: string
  /** `user` by default. */
  role?: Role
  /** The person it belongs to. */
  user?: string
  /** Models it is for, `*` for any characters; all if absent. */
  models?: string[]
  /** Protocols it is for; all if absent. */
  doors?: string[]
  limits?: Limits
  expiresAt?: string
}

export interface Key extends NewKey {
  id: string
  /** How the key begins. */
  prefix: string
  tenant: string
  role: Role
  limits: Limits
  createdAt: string
  createdBy: string
  revokedAt?: string
  lastUsedAt?: string
}

/** A key, told this once, and what is known of it. */
export interface CreatedKey {
  key: string
  about: Key
}

export interface User {
  tenant: string
  name: string
  role: Role
  createdAt: string
  disabledAt?: string
}

export interface Tenant {
  tenant: string
  limits: Limits
  createdAt: string
  closedAt?: string
}

/** What a request, a thousand tokens read and a thousand tokens written cost. */
export interface Price {
  tenant: string
  model: string
  request: number
  input: number
  output: number
}

/** How much of a limit by minute is left, and the milliseconds until all of it is. */
interface Left {
  limit: number
  remaining: number
  reset: number
}

export interface WhoAmI {
  key: string
  tenant: string
  role: Role
  operator: boolean
  models?: string[]
  doors?: string[]
  left: { requests?: Left; tokens?: Left }
  budgets: { budget: number; period: string; spent: number; remaining: number; resetsAt?: string }[]
}

/** First and last day, as `2026-11-26`. */
export interface UsageFilter {
  from?: string
  to?: string
  all?: boolean
}

export interface UsageRow {
  tenant: string
  day: string
  model: string
  key: string
  requests: number
  refused: number
  inputTokens: number
  outputTokens: number
  cost: number
}

export interface AuditEntry {
  at: string
  tenant: string
  actor: string
  action: string
  target: string
  detail: Record<string, unknown>
  requestId: string
  /** `done`, or the code of the error; absent while it goes on, or where nobody lived to tell. */
  outcome?: string
}

const pricePath = (tenant: string, model: string) =>
  `/api/prices/${encodeURIComponent(tenant)}/${encodeURIComponent(model)}`

const usageQuery = ({ all, ...days }: UsageFilter) => ({ ...days, ...(all && { all: 'true' }) })

/** Calls about the keys of a tenant. A key itself is told once, when it is made or given a new secret. */
export const keyCalls = (http: Http) => ({
  create: (key: NewKey): Promise<CreatedKey> => http.json('/api/keys', { method: 'POST', json: key }),
  list: async (): Promise<Key[]> => (await http.json<{ keys: Key[] }>('/api/keys')).keys,
  /** The old secret works on for `graceSeconds`. */
  rotate: (id: string, options: { graceSeconds?: number } = {}): Promise<CreatedKey> =>
    http.json(`/api/keys/${encodeURIComponent(id)}/rotate`, { method: 'POST', json: options }),
  setLimits: (id: string, limits: Limits): Promise<Key> =>
    http.json(`/api/keys/${encodeURIComponent(id)}/limits`, { method: 'PUT', json: limits }),
  revoke: (id: string): Promise<void> => http.json(`/api/keys/${encodeURIComponent(id)}`, { method: 'DELETE' }),
})

/** Calls about the people of a tenant, whom keys can belong to. */
export const userCalls = (http: Http) => ({
  list: async (): Promise<User[]> => (await http.json<{ users: User[] }>('/api/users')).users,
  set: (name: string, user: { role: Role; disabled?: boolean }): Promise<User> =>
    http.json(`/api/users/${encodeURIComponent(name)}`, { method: 'PUT', json: user }),
})

/** Calls about tenants and what they may use; for operators. */
export const tenantCalls = (http: Http) => ({
  list: async (): Promise<Tenant[]> => (await http.json<{ tenants: Tenant[] }>('/api/tenants')).tenants,
  /** Makes a tenant, or sets all of its limits; without limits those it has stay. */
  set: (tenant: string, limits?: Limits): Promise<Tenant> =>
    http.json(`/api/tenants/${encodeURIComponent(tenant)}`, { method: 'PUT', json: limits ? { limits } : {} }),
  close: (tenant: string): Promise<void> =>
    http.json(`/api/tenants/${encodeURIComponent(tenant)}`, { method: 'DELETE' }),
})

/** Calls about what models cost; `*` stands for every tenant or model that has no price of its own. */
export const priceCalls = (http: Http) => ({
  list: async (): Promise<Price[]> => (await http.json<{ prices: Price[] }>('/api/prices')).prices,
  set: async (
    tenant: string,
    model: string,
    price: Partial<Pick<Price, 'request' | 'input' | 'output'>>,
  ): Promise<Price[]> =>
    (await http.json<{ prices: Price[] }>(pricePath(tenant, model), { method: 'PUT', json: price })).prices,
  remove: (tenant: string, model: string): Promise<void> => http.json(pricePath(tenant, model), { method: 'DELETE' }),
})

/** Calls about usage by day, model and key; operators may ask for all tenants. */
export const usageCalls = (http: Http) => ({
  list: async (filter: UsageFilter = {}): Promise<UsageRow[]> =>
    (await http.json<{ usage: UsageRow[] }>('/api/usage', { query: usageQuery(filter) })).usage,
  csv: async (filter: UsageFilter = {}): Promise<string> =>
    (await http.send('/api/usage', { query: { ...usageQuery(filter), format: 'csv' } })).text(),
})
