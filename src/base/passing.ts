import { asAthanorError, type ErrorCode, fail } from './errors.ts'

/** An error on its way from one process to another. */
export interface PassedError {
  code: string
  details: Record<string, string | number>
  suggestion?: string
  /** For the log of the process that receives it. */
  detail?: string
}

/** What another process is told of an error. */
export function passed(error: unknown): PassedError {
  const { code, details, hint, cause } = asAthanorError(error)
  const suggestion = /^Did you mean "(.*?)"\?/.exec(hint)?.[1]
  const detail = cause instanceof Error ? cause.stack : undefined
  return { code, details, ...(suggestion && { suggestion }), ...(detail && { detail }) }
}

/** The error that another process told of. */
export const received = ({ code, details, suggestion, detail }: PassedError) =>
  fail(code as ErrorCode, details, {
    ...(suggestion && { suggestion }),
    ...(detail && { cause: new Error(detail) }),
  })
