import type { CommanderError } from 'commander'
import { AthanorError as RemoteError } from '../../client/src/index.ts'
import { type AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { exitCodes } from './context.ts'
import type { Terminal } from './terminal.ts'

const wrongly = new Set(['OPTION_INVALID', 'COMMAND_UNKNOWN', 'COMMAND_WRONG'])

/** Prints an error of a command: what is wrong, what to do next, and its code; returns the exit code. */
export function report(thrown: unknown, out: Terminal, command: string): number {
  const { code, status, message, hint: said, requestId } = thrown instanceof RemoteError ? thrown : localError(thrown)
  const hint = said.replace('athanor COMMAND', command ? `athanor ${command}` : 'athanor')
  out.clear()
  if (out.json) out.document({ error: { code, status, message, hint, ...(requestId && { requestId }) } })
  else {
    out.complain(`${out.style('red', 'error')}: ${message}`)
    out.complain(`  ${hint}   ${out.style('dim', `(${code}${requestId ? `, ${requestId}` : ''})`)}`)
  }
  if (code === 'INTERNAL' && process.env.ATHANOR_DEBUG) console.error(thrown)
  if (code === 'GATE_REFUSED') return exitCodes.refused
  return wrongly.has(code) ? exitCodes.usage : exitCodes.failed
}

/** Reasons why a path cannot be used, by the system's code. */
const reasons: Record<string, string> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the disk is read-only',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of it is a file, not a folder',
}

/** What went wrong in this process. */
function localError(thrown: unknown): RemoteError | (AthanorError & { requestId?: undefined }) {
  const { code = '', path } = (thrown ?? {}) as NodeJS.ErrnoException
  if (path !== undefined && code in reasons) return fail('PATH_UNUSABLE', { path, reason: reasons[code] })
  const known = asAthanorError(thrown)
  if (known.code !== 'INTERNAL') return known
  const { status, message } = known
  const what = thrown instanceof Error ? `${message}: ${thrown.message}` : message
  const hint = 'To see where, set ATHANOR_DEBUG=1 and run it again.'
  return new RemoteError({ code: 'INTERNAL', status, message: what, hint })
}

/** A wrongly written command as an error of ours; undefined where help or the version was asked for. */
export function usageError({ exitCode, message }: CommanderError, example: string | undefined) {
  if (exitCode === 0) return undefined
  const [what, suggested] = message.replace(/^error: /, '').split('\n')
  const suggestion = /Did you mean (\S+)\?/.exec(suggested ?? '')?.[1]
  return fail('COMMAND_WRONG', { what, example: example ?? 'athanor --help' }, { ...(suggestion && { suggestion }) })
}
