import type { Generated } from 'kysely'

/** What clients of MLflow’s tracking store. */
export interface TrackingTables {
  tracked_experiments: {
    id: Generated<number>
    name: string
    state: string
    tags: string
    created_at: number
    updated_at: number
  }
  tracked_runs: {
    run: string
    experiment: number
    name: string
    user_id: string
    status: string
    state: string
    start_time: number
    end_time: number | null
  }
  /** Parameters and tags of runs; `kind` is `param` or `tag`. */
  tracked_values: { run: string; kind: string; name: string; value: string }
  tracked_metrics: { id: Generated<number>; run: string; name: string; value: string; step: number; at: number }
  tracked_models: {
    id: string
    experiment: number
    run: string | null
    name: string
    kind: string
    status: string
    params: string
    tags: string
    created_at: number
    updated_at: number
  }
  /** Where a version came from that an MLflow client registered: its URI, and the folder of its artifacts. */
  tracked_versions: {
    model: string
    version: number
    source: string
    path: string
    run: string | null
    description: string | null
  }
  artifacts: { path: string; digest: string; bytes: number }
}
