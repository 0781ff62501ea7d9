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
  /** The server stays when the command ends. */
  readonly lasting: boolean
  /** Whether the server went away since this was last asked, and another is there: that of a command ends with it. */
  readonly moved: () => Promise<boolean>
  readonly out: Terminal
  readonly options: GlobalOptions
  /** Aborted by Ctrl-C; a command that can be resumed says how. */
  readonly signal: AbortSignal
}

/** How a command ends when it is not well: 1 failed, 2 wrongly called, 3 refused by the gate, 130 stopped by Ctrl-C. */
export const exitCodes = { failed: 1, usage: 2, refused: 3, interrupted: 130 } as const
