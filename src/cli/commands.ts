import type { CommandEntry } from './entry.ts'
import { makeCommands } from './groups/make.ts'
import { serveCommands } from './groups/serve.ts'
import { shareCommands } from './groups/share.ts'
import { useCommands } from './groups/use.ts'
import { watchCommands } from './groups/watch.ts'

/** Every command of the CLI, in the order of its groups; help and documentation derive from this table. */
export const commands: readonly (CommandEntry & { group: string })[] = [
  makeCommands,
  useCommands,
  serveCommands,
  watchCommands,
  shareCommands,
].flatMap(({ title, commands }) => commands.map((command) => ({ ...command, group: title })))
