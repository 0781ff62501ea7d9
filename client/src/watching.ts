import type { Http } from './http.ts'

export interface LogEntry {
  at: string
  level: string
  event: string
  code?: string
  message?: string
  hint?: string
  model?: string
  version?: number
  requestId?: string
  ms?: number
  detail?: string
}

/** Errors that are alike. */
export interface ErrorGroup {
  fingerprint: string
  code: string
  event: string
  model: string
  message: string
  count: number
  firstAt: string
  lastAt: string
  version?: number
  /** The newest. */
  requests: string[]
  /** For operators: cause and stack of the newest. */
  detail?: string
}

/** A logged request; contents only where the server keeps them. */
export interface LoggedRequest {
  requestId: string
  at: string
  door: string
  model?: string
  version?: number
  code?: string
  ms: number
  rows: number
  promptTokens?: number
  completionTokens?: number
  input?: string
  output?: string
}

export interface EngineInfo {
  model: string
  version: number
  pid?: number
  state: string
  loadedAt: string
  requests: number
  waiting: number
  /** Kept in memory whether or not it is asked. */
  pinned: boolean
  /** Seconds since it was last asked. */
  idleSeconds: number
  rss?: number
  cpuSeconds?: number
  threads?: number
  /** Open file descriptors. */
  handles?: number
  batches?: number
}

/** What the server and the machine have and use: bytes, processors, seconds. */
export interface Resources {
  server: { rss: number; cpuSeconds: number; threads?: number; handles?: number }
  host: { processors: number; load: number; memory: number; available: number }
  cgroup?: {
    version: 1 | 2
    memory?: number
    memoryLimit?: number
    processorsLimit?: number
    cpuSeconds?: number
    throttledSeconds?: number
  }
  disk?: { size: number; free: number; database: number }
  gpus: {
    index: number
    uuid: string
    name: string
    utilization?: number
    memory?: number
    memoryUsed?: number
    watts?: number
    temperature?: number
  }[]
}

/** Seconds. */
export interface Quantiles {
  p50: number
  p95: number
  p99: number
}

/** What was counted of requests in a stretch of time. */
export interface HistoryPoint {
  requests: number
  rows: number
  /** Failed by the server's own fault. */
  errors: number
  /** Failed by the caller's fault, or for want of room. */
  refused: number
  promptTokens: number
  completionTokens: number
  latency?: Quantiles
  firstToken?: Quantiles
}

export interface HistoryQuery {
  /** Minutes are kept for a day, hours for 90 days. */
  span?: 'minute' | 'hour'
  since?: string
  until?: string
  model?: string
  version?: number
  door?: string
  /** What series are told apart by; by model if absent, all together if empty. */
  by?: ('model' | 'version' | 'door')[]
}

export interface HistoryReport {
  span: 'minute' | 'hour'
  since: string
  until: string
  series: {
    model?: string
    version?: number
    door?: string
    total: HistoryPoint
    points: (HistoryPoint & { at: string })[]
  }[]
}

/** How far a feature of requests is from the held-out rows, and the level from which on that is not normal. */
export interface Distance {
  distance: number
  level: number
  stability: number
  largest?: number
}

export interface DriftReport {
  model: string
  version: number
  /** False where a version has nothing to compare with. */
  watched: boolean
  /** Accuracy of what has labels. */
  reference?: { rows: number; accuracy?: number }
  drifted: { feature: string; meaning: string }[]
  estimatedAccuracy?: number
  labelled: { rows: number; accuracy?: number }
  windows: {
    at: string
    rows: number
    distances: Record<string, Distance>
    drifted: string[]
    estimatedAccuracy?: number
  }[]
}

export interface Alert {
  id: number
  rule: string
  model: string
  version: number
  message: string
  value: number
  level: number
  since: string
  until?: string
  silenced: boolean
  silencedUntil?: string
}

export interface AlertRule {
  name: string
  /** E.g. `p99 > 500ms over 5m`, `requests falls 50% over 10m`, `burn 99.9%`, `burn 99% within 300ms`. */
  rule: string
  /** Of all models if absent. */
  model?: string
  createdAt: string
}

/** Calls about the rules that alerts are opened by, beside drift and accuracy. */
export const alertRuleCalls = (http: Http) => ({
  list: async (): Promise<AlertRule[]> => (await http.json<{ rules: AlertRule[] }>('/api/alerts/rules')).rules,
  set: (name: string, rule: string, model?: string): Promise<AlertRule> =>
    http.json(`/api/alerts/rules/${encodeURIComponent(name)}`, {
      method: 'PUT',
      json: { rule, ...(model && { model }) },
    }),
  delete: (name: string): Promise<void> =>
    http.json(`/api/alerts/rules/${encodeURIComponent(name)}`, { method: 'DELETE' }),
})
