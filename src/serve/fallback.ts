import { asAthanorError, type ErrorCode } from '../base/errors.ts'
import type { Version } from '../registry/registry.ts'

/** Failures that say nothing of the request: another model may do better. */
const passing = new Set<ErrorCode>([
  'UPSTREAM_UNREACHABLE',
  'UPSTREAM_BUSY',
  'UPSTREAM_FAILED',
  'OVERLOADED',
  'MODEL_NOT_READY',
])
const CHAIN = 4
const modelOf = (ref: string) => ref.split('@')[0]

/** The model that stands in for a version after a failure, if one does; `chain` holds the models that were asked before. */
export function standIn({ name, manifest }: Version, thrown: unknown, chain: readonly string[]): string | undefined {
  const fallback = manifest.remote?.fallback
  if (fallback === undefined || !passing.has(asAthanorError(thrown).code)) return undefined
  const asked = [...chain.map(modelOf), name]
  return asked.includes(modelOf(fallback)) || chain.length >= CHAIN ? undefined : fallback
}
