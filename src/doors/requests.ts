import { isUtf8 } from 'node:buffer'
import type { FastifyError } from 'fastify'
import { AthanorError, asAthanorError, fail } from '../base/errors.ts'

/** Deepest nesting of a JSON body. */
export const DEPTH_LIMIT = 70

/** A body as text; throws BAD_REQUEST. */
export function textOf(body: Buffer): string {
  if (isUtf8(body)) return body.toString('utf8')
  throw fail('BAD_REQUEST', { message: 'the body is not UTF-8' })
}

/** A body as JSON, whatever its type says; what would change an object's prototype is left out. Throws BAD_REQUEST. */
export function parseJson(body: Buffer): unknown {
  const text = textOf(body)
  try {
    return JSON.parse(text, (key, value: unknown) => (key === '__proto__' ? undefined : value))
  } catch {
    throw fail('BAD_REQUEST', { message: 'the body is not JSON' })
  }
}

/** Whether a value is nested at most `DEPTH_LIMIT` deep. */
export function isShallow(value: unknown, left = DEPTH_LIMIT): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (ArrayBuffer.isView(value)) return true
  if (left === 0) return false
  if (Array.isArray(value)) return value.every((item) => isShallow(item, left - 1))
  for (const key in value) if (!isShallow((value as Record<string, unknown>)[key], left - 1)) return false
  return true
}

type Properties = { properties?: Record<string, { type?: string }> }
const truths: Record<string, boolean> = { true: true, false: false }

/** Query values are text; where the schema asks for a number or truth value they are read as one. */
export function withTypes(query: Record<string, unknown>, schema: object): Record<string, unknown> {
  const { properties = {} } = schema as Properties
  return Object.fromEntries(
    Object.entries(query).map(([key, value]) => {
      const { type } = properties[key] ?? {}
      if (typeof value !== 'string') return [key, value]
      if ((type === 'integer' || type === 'number') && value.trim() !== '') return [key, Number(value)]
      return [key, type === 'boolean' && Object.hasOwn(truths, value) ? truths[value] : value]
    }),
  )
}

type Fault = NonNullable<FastifyError['validation']>[number]

/**
 * What to tell of a value's faults. Of a union's, that of the alternative that fits best; where none fits at all, what
 * would.
 */
function furthest(faults: readonly Fault[]): Fault {
  const union = faults.at(-1)!
  if (union.keyword !== 'anyOf') return faults[0]
  const told = (keyword: string, param: string) =>
    faults
      .filter((fault) => fault.keyword === keyword && fault.instancePath === union.instancePath)
      .map(({ params }) => String(params[param]))
  const types = told('type', 'type')
  const within = faults
    .slice(0, -1)
    .find((fault) => fault.keyword !== 'type' || fault.instancePath !== union.instancePath)
  if (!within) return { ...union, message: `must be ${[...new Set(types)].join(' or ')}` }
  const values = told('const', 'allowedValue')
  return values.length > 1 ? { ...union, message: `must be one of ${values.join(', ')}` } : within
}

/** Errors of the framework in the words of the table. */
export function fromFastify(thrown: FastifyError, limit: number): AthanorError {
  if (thrown instanceof AthanorError) return thrown
  const { code, validation, validationContext, message } = thrown
  if (validation) {
    const first = furthest(validation)
    const place = `${validationContext ?? 'body'}${first.instancePath.replaceAll('/', '.')}`
    const extra = (first.params as { additionalProperty?: string }).additionalProperty
    const missing = (first.params as { missingProperty?: string }).missingProperty
    return fail('BAD_REQUEST', {
      message:
        extra === undefined ? `${place} ${first.message}` : `${place} has an unknown field "${extra.slice(0, 80)}"`,
      param: missing ?? extra?.slice(0, 80) ?? first.instancePath.slice(1).replaceAll('/', '.'),
    })
  }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return fail('BODY_TOO_LARGE', { limit })
  if (thrown.statusCode !== undefined && thrown.statusCode < 500) return fail('BAD_REQUEST', { message })
  return asAthanorError(thrown)
}
