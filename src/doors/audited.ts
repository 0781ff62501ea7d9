import type { AuditEntry } from '../access/audit.ts'
import { asAthanorError } from '../base/errors.ts'
import type { House } from './route.ts'

/** Does what a caller asked for: its entry is in the audit log before it is done, and how it ended after it. */
export async function audited<T>(
  { access, tenant, who }: House,
  entry: Pick<AuditEntry, 'action' | 'target' | 'detail' | 'requestId'>,
  work: () => T | Promise<T>,
): Promise<T> {
  const finish = await access.audit.begin({ tenant, actor: who.actor, ...entry })
  try {
    const result = await work()
    await finish('done')
    return result
  } catch (error) {
    await finish(asAthanorError(error).code)
    throw error
  }
}
