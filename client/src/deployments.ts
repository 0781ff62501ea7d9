/** How a candidate is judged; see docs/deployments.md. */
export interface CanaryPolicy {
  automatic: boolean
  alpha: number
  beta: number
  minimum: number
  unbearable: number
  errors: number
  slow: number
  disagreement?: number
}

/** Which versions answer for a model: the first is the stable one. Weights are percent. */
export interface DeploymentPlan {
  targets: { version: number; weight: number }[]
  canary?: { version: number; policy: CanaryPolicy; since: string }
  shadow?: { version: number; share: number }
  previous?: number
}

/** What one respect of a trial has shown; `worse` and `fine` are natural logarithms of the evidence. */
export interface TrialRespect {
  stable?: { seen: number; bad: number }
  candidate: { seen: number; bad: number }
  worse: number
  fine: number
  slowFromMs?: number
}

export interface ShadowReport {
  model: string
  version: number
  shadow: number
  rows: number
  disagreed: number
  failed: number
  dropped: number
  pairs: { answer: string; shadow: string; count: number }[]
}

export interface Deployment {
  model: string
  plan: DeploymentPlan
  trial?: Record<'errors' | 'p99' | 'disagreement' | 'accuracy', TrialRespect>
  /** What the test of a canary found that is not automatic. */
  found?: string
  shadows: ShadowReport[]
}

/** One of `version`, `canary` and `weights`; and a shadow, which 0 ends. `by` is who asks, for the trail. */
export interface DeploymentOrder {
  version?: number
  canary?: number
  weight?: number
  weights?: Record<string, number>
  shadow?: number
  share?: number
  policy?: Partial<CanaryPolicy>
  by?: string
}

export interface DeploymentChange {
  id: number
  at: string
  who: string
  what: string
  detail: string
  plan: DeploymentPlan | null
}

/** How a model is served; `null` takes a setting back. Times are milliseconds. */
export interface Serving {
  pinned?: boolean | null
  keepAlive?: number | null
  replicas?: number | null
  threads?: number | null
  tokenBudget?: number | null
}

type Json = <T>(
  path: string,
  call?: { method?: string; json?: unknown; query?: Record<string, number | undefined> },
) => Promise<T>

/** The calls about deployments, and about how models are served. */
export function deploymentCalls(json: Json) {
  const path = (model: string) => `/api/deployments/${encodeURIComponent(model)}`
  return {
    list: async (): Promise<Deployment[]> =>
      (await json<{ deployments: Deployment[] }>('/api/deployments')).deployments,
    show: (model: string): Promise<Deployment> => json(path(model)),
    deploy: (model: string, order: DeploymentOrder): Promise<Deployment> =>
      json(path(model), { method: 'PUT', json: order }),
    /** Ends a trial, or goes back to the version before. */
    rollback: (model: string, { by }: { by?: string } = {}): Promise<Deployment> =>
      json(`${path(model)}/rollback`, { method: 'POST', json: { ...(by !== undefined && { by }) } }),
    /** Gives the canary all requests. */
    promote: (model: string, { by }: { by?: string } = {}): Promise<Deployment> =>
      json(`${path(model)}/promote`, { method: 'POST', json: { ...(by !== undefined && { by }) } }),
    remove: (model: string): Promise<void> => json(path(model), { method: 'DELETE' }),
    /** Every change, newest first. */
    changes: async (model: string, limit?: number): Promise<DeploymentChange[]> =>
      (await json<{ changes: DeploymentChange[] }>(`${path(model)}/changes`, { query: { limit } })).changes,
    serving: (model: string): Promise<Serving> => json(`/api/models/${encodeURIComponent(model)}/serving`),
    setServing: (model: string, serving: Serving): Promise<Serving> =>
      json(`/api/models/${encodeURIComponent(model)}/serving`, { method: 'PUT', json: serving }),
  }
}
