import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'

/** The place of a piece of work in a trace: ids in hex, as W3C Trace Context has them. */
export interface Trace {
  traceId: string
  spanId: string
  /** The span that caused it, of this process or a caller's. */
  parentId?: string
  sampled: boolean
}

const current = new AsyncLocalStorage<Trace>()

/** Runs `work` as part of a trace; what it calls, also later, finds it by `currentTrace`. */
export const inTrace = <T>(trace: Trace, work: () => T): T => current.run(trace, work)
export const currentTrace = (): Trace | undefined => current.getStore()

export const newSpanId = () => randomBytes(8).toString('hex')
export const newTraceId = () => randomBytes(16).toString('hex')

/**
 * A `traceparent` header (https://www.w3.org/TR/trace-context/, version 00 and what later ones share with it); undefined for
 * anything else.
 */
export function parseTraceparent(
  header: string | undefined,
): { traceId: string; parentId: string; sampled: boolean } | undefined {
  const [, version, traceId, parentId, flags, rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(header ?? '') ?? []
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** Headers that carry the trace on to another server; none outside a trace. */
export function traceHeaders(): { traceparent?: string } {
  const trace = currentTrace()
  if (!trace) return {}
  return { traceparent: `00-${trace.traceId}-${trace.spanId}-${trace.sampled ? '01' : '00'}` }
}
