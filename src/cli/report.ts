import { AthanorError as RemoteError } from '../../client/src/index.ts'
import { asAthanorError } from '../base/errors.ts'
import { exitCodes } from './context.ts'
import type { Terminal } from './terminal.ts'

/** Prints an error: what is wrong, what to do next, and its code; returns the exit code. */
export function report(thrown: unknown, out: Terminal): number {
  const { code, status, message, hint, requestId } =
    thrown instanceof RemoteError ? thrown : { ...asAthanorError(thrown).toJSON(), requestId: undefined }
  out.clear()
  if (out.json) out.document({ error: { code, status, message, hint, ...(requestId && { requestId }) } })
  else {
    process.stderr.write(
      `${out.style('red', 'error')}: ${message}\n  ${hint}   ${out.style('dim', `(${code}${requestId ? `, ${requestId}` : ''})`)}\n`,
    )
    if (code === 'INTERNAL' && process.env.ATHANOR_DEBUG) console.error(thrown)
  }
  if (code === 'GATE_REFUSED') return exitCodes.refused
  return code === 'OPTION_INVALID' || code === 'COMMAND_UNKNOWN' ? exitCodes.usage : exitCodes.failed
}
