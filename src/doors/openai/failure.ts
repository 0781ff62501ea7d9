import type { AthanorError } from '../../base/errors.ts'
import type { Failure } from '../door.ts'

/** Error types by status; the client library maps statuses to its classes. */
const types: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
}
const codes: Partial<Record<AthanorError['code'], string>> = {
  MODEL_NOT_FOUND: 'model_not_found',
  VERSION_NOT_FOUND: 'model_not_found',
  PROMPT_TOO_LONG: 'context_length_exceeded',
  OVERLOADED: 'rate_limit_exceeded',
  RATE_LIMITED: 'rate_limit_exceeded',
  BUDGET_SPENT: 'insufficient_quota',
  UNAUTHORIZED: 'invalid_api_key',
}
const passing = new Set([429, 503, 504])

/**
 * `{error: {message, type, param, code}}`. Clients repeat 409 and everything from 500 on: what will not pass by itself is
 * told as 400, or marked as not to be repeated.
 */
export function openaiFailure({ code, status, message, hint, details }: AthanorError): Failure {
  const told = status === 409 || status === 501 ? 400 : status
  const param = typeof details.param === 'string' && details.param !== '' ? details.param : null
  return {
    status: told,
    headers: code === 'BUDGET_SPENT' || (told >= 500 && !passing.has(told)) ? { 'x-should-retry': 'false' } : {},
    body: {
      error: {
        message: `${message}. ${hint}`,
        type:
          code === 'BUDGET_SPENT'
            ? 'insufficient_quota'
            : (types[told] ?? (told >= 500 ? 'server_error' : 'invalid_request_error')),
        param,
        code: codes[code] ?? code.toLowerCase(),
      },
    },
  }
}
