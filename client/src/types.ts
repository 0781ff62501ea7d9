/** Figures by name. */
export type Metrics = Record<string, number>

export interface ErrorBody {
  code: string
  status: number
  message: string
  hint: string
  requestId?: string
}

export interface Status {
  version: string
  url: string
  pid: number
  uptimeSeconds: number
  models: { registered: number; loaded: number }
  runs: { active: number }
}
