import { Option } from 'commander'
import type { Context, GlobalOptions } from './context.ts'

export interface Call<Options> {
  args: string[]
  options: Options & GlobalOptions
  signal: AbortSignal
}

/** A call of a command that talks to a server. */
export type ServerCall<Options> = Call<Options> & { context: Context }

/** A command: its name with arguments, what it does, a real example, its options, and whether it talks to a server. */
export type CommandEntry = {
  name: string
  /** Other words for it. */
  aliases?: readonly string[]
  summary: string
  /** The summary in a few words, for what most people need: it stands on the first page of the help. */
  brief?: string
  example: string
  options?: (() => Option)[]
} & (
  | { needs: 'server'; act: (call: ServerCall<never>) => Promise<void> }
  | { needs: 'nothing'; act: (call: Call<never>) => Promise<void> }
)

/** Commands that stand together in the help, under a title. */
export interface CommandGroup {
  title: string
  commands: readonly CommandEntry[]
}

export const option = (flags: string, description: string) => () => new Option(flags, description)

export const repeated = (flags: string, description: string) => () =>
  new Option(flags, description).argParser<string[]>((value, list) => [...(list ?? []), value])
