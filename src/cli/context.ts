import type { Athanor } from '../../client/src/index.ts'
import type { Terminal } from './terminal.ts'

/** Options that every command takes. */
export interface GlobalOptions {
  json?: boolean
  quiet?: boolean
  url?: string
  tenant?: string
}

/** What a command works with: the server it talks to, and where it prints. */
export interface Context {
  readonly client: Athanor
  /** The server is inside this process and ends with the command. */
  readonly own: boolean
  readonly out: Terminal
  readonly options: GlobalOptions
  /** Aborted by Ctrl-C; a command that can be resumed says how. */
  readonly signal: AbortSignal
}

/** How a command ends when it is not well: 1 failed, 2 wrongly called, 3 refused by the gate, 130 stopped by Ctrl-C. */
export const exitCodes = { failed: 1, usage: 2, refused: 3, interrupted: 130 } as const
