import { type Http, modelPath } from './http.ts'
import type { ModelDetail } from './models.ts'

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

/** A graph of classifiers that answers as one: a model, the mean of nodes, or the node that a label leads to. */
export interface Pipeline {
  nodes: Record<
    string,
    | { model: string }
    | { average: string[]; weights?: number[] }
    | { route: string; cases: Record<string, string>; otherwise: string }
  >
  output: string
  description?: string
}

/** How a model is served; `null` takes a setting back. Times are milliseconds. */
export interface Serving {
  pinned?: boolean | null
  keepAlive?: number | null
  replicas?: number | null
  threads?: number | null
  tokenBudget?: number | null
}

/** Ways to run a version: requests in a second when saturated, milliseconds of one alone, bytes; and the one chosen. */
export interface Tuning {
  measured: {
    threads: number
    replicas: number
    tokenBudget?: number
    perSecond: number
    alone: number
    memory: number
  }[]
  chosen: { threads: number; replicas: number; tokenBudget?: number }
}

/** The calls about deployments, and about how models are served. */
export function deploymentCalls(http: Http) {
  const path = (model: string) => `/api/deployments/${encodeURIComponent(model)}`
  return {
    list: async (): Promise<Deployment[]> =>
      (await http.json<{ deployments: Deployment[] }>('/api/deployments')).deployments,
    show: (model: string): Promise<Deployment> => http.json(path(model)),
    deploy: (model: string, order: DeploymentOrder): Promise<Deployment> =>
      http.json(path(model), { method: 'PUT', json: order }),
    /** Ends a trial, or goes back to the version before. */
    rollback: (model: string, { by }: { by?: string } = {}): Promise<Deployment> =>
      http.json(`${path(model)}/rollback`, { method: 'POST', json: { ...(by !== undefined && { by }) } }),
    /** Gives the canary all requests. */
    promote: (model: string, { by }: { by?: string } = {}): Promise<Deployment> =>
      http.json(`${path(model)}/promote`, { method: 'POST', json: { ...(by !== undefined && { by }) } }),
    /** Registers a pipeline as the next version of a model. */
    compose: (model: string, pipeline: Pipeline): Promise<ModelDetail> =>
      http.json(`${modelPath(model)}/pipeline`, { method: 'POST', json: pipeline }),
    remove: (model: string): Promise<void> => http.json(path(model), { method: 'DELETE' }),
    /** Every change, newest first. */
    changes: async (model: string, limit?: number): Promise<DeploymentChange[]> =>
      (await http.json<{ changes: DeploymentChange[] }>(`${path(model)}/changes`, { query: { limit } })).changes,
    /** Measures ways to run a version and keeps the best; takes about half a minute. */
    tune: (model: string): Promise<Tuning> => http.json(`${modelPath(model)}/tune`, { method: 'POST', timeout: 0 }),
    serving: (model: string): Promise<Serving> => http.json(`${modelPath(model)}/serving`),
    setServing: (model: string, serving: Serving): Promise<Serving> =>
      http.json(`${modelPath(model)}/serving`, { method: 'PUT', json: serving }),
  }
}
