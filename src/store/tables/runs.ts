import type { Generated } from 'kysely'

/** Data sets and files, the runs on them, and work that only one process does at a time. */
export interface RunsTables {
  datasets: { id: string; filename: string; digest: string; bytes: number; created_at: string; purpose: string }
  runs: {
    run: string
    model: string
    state: string
    spec: string
    metrics: string | null
    version: number | null
    error: string | null
    created_at: string
    updated_at: string
    /** The process that works on it, until when if it does not say so again (milliseconds), and how others want it to end. */
    owner: Generated<string | null>
    lease_until: Generated<number | null>
    wanted: Generated<string | null>
  }
  run_files: { run: string; name: string; digest: string; bytes: number }
  run_events: { id: Generated<number>; run: string; at: string; event: string }
  batches: { id: string; boot: string; document: string }
  /** Work that only one process does at a time. */
  leases: { name: string; owner: string; until: number }
}
