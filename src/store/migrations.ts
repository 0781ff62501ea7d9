import type { Migration } from 'kysely/migration'
import { access } from './migrations/access.ts'
import { alertRules } from './migrations/alert-rules.ts'
import { answers } from './migrations/answers.ts'
import { auditOutcome } from './migrations/audit-outcome.ts'
import { batches } from './migrations/batches.ts'
import { purpose } from './migrations/dataset-purpose.ts'
import { first } from './migrations/first.ts'
import { history } from './migrations/history.ts'
import { registry } from './migrations/registry.ts'
import { requests } from './migrations/requests.ts'
import { rollout } from './migrations/rollout.ts'
import { tracking } from './migrations/tracking.ts'
import { watch } from './migrations/watch.ts'

/** Migrations in order; a released one is never changed. */
export const migrations: Record<string, Migration> = {
  '0001_first': first,
  '0002_watch': watch,
  '0003_dataset_purpose': purpose,
  '0004_access': access,
  '0005_history': history,
  '0006_requests': requests,
  '0007_batches': batches,
  '0008_rollout': rollout,
  '0009_registry': registry,
  '0010_alert_rules': alertRules,
  '0011_tracking': tracking,
  '0012_answers': answers,
  '0013_audit_outcome': auditOutcome,
}
