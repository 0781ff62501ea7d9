import type { AccessTables } from './tables/access.ts'
import type { RegistryTables } from './tables/registry.ts'
import type { RolloutTables } from './tables/rollout.ts'
import type { RunsTables } from './tables/runs.ts'
import type { TrackingTables } from './tables/tracking.ts'
import type { WatchTables } from './tables/watch.ts'

/** Tables; times are ISO 8601 text, structured values JSON text, so that both mean the same in every database. */
export interface Schema extends RegistryTables, RunsTables, RolloutTables, AccessTables, WatchTables, TrackingTables {}
