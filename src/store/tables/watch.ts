import type { Generated } from 'kysely'

/** What is kept of requests, errors, drift and alerts. */
export interface WatchTables {
  log_entries: {
    id: Generated<number>
    at: string
    level: string
    event: string
    code: string | null
    message: string | null
    hint: string | null
    model: string | null
    version: number | null
    request_id: string | null
    ms: number | null
    detail: string | null
  }
  drift_windows: { id: Generated<number>; model: string; version: number; at: string; judgement: string }
  alerts: {
    id: Generated<number>
    rule: string
    model: string
    version: number
    message: string
    value: number
    level: number
    since: string
    until: string | null
    silenced: number
    silenced_until: string | null
  }
  alert_rules: { name: string; rule: string; model: string | null; created_at: string }
  /** Answers of a moment together, of one version: from the first to the last of their requests' ids, the rows as JSON. */
  answers: {
    id: Generated<number>
    model: string
    version: number
    first: string
    last: string
    requests: number
    rows: number
    body: string
  }
  /** Answers that were labelled. */
  predictions: {
    request_id: string
    row: number
    model: string
    version: number
    label: string
    score: number
    text: string | null
    at: string
  }
  feedback: { request_id: string; row: number; label: string; at: string }
  history: {
    span: string
    at: string
    writer: string
    model: string
    version: number
    door: string
    requests: number
    rows: number
    errors: number
    refused: number
    prompt_tokens: number
    completion_tokens: number
    latency: string
    first_token: string
  }
  requests: {
    id: Generated<number>
    request_id: string
    at: string
    door: string
    model: string | null
    version: number | null
    code: string | null
    ms: number
    rows: number
    prompt_tokens: number | null
    completion_tokens: number | null
    input: string | null
    output: string | null
  }
  error_groups: {
    fingerprint: string
    code: string
    event: string
    model: string
    message: string
    count: number
    first_at: string
    last_at: string
    version: number | null
    requests: string
    detail: string | null
  }
}
