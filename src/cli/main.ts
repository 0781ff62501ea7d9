import { Command, CommanderError, Option } from 'commander'
import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import { version } from '../base/version.ts'
import { commands } from './commands.ts'
import { connect } from './connect.ts'
import { type Context, exitCodes, type GlobalOptions } from './context.ts'
import type { CommandEntry } from './entry.ts'
import { everything, overview, wordOf } from './help.ts'
import { wrap } from './layout.ts'
import { report, usageError } from './report.ts'
import { Terminal } from './terminal.ts'

const program = new Command('athanor')
  .version(version)
  .option('--json', 'print one JSON document on standard output')
  .option('--quiet', 'print results only')
  .addOption(new Option('--url <url>', 'the server to talk to').env('ATHANOR_URL'))
  .addOption(new Option('--tenant <name>', 'the tenant to act for, as an operator').env('ATHANOR_TENANT'))
  .configureHelp({ formatHelp: (_, { helpWidth }) => `${overview(new Terminal({}), helpWidth ?? 80).join('\n')}\n` })
  .configureOutput({ outputError: () => {} }) // `report` tells of it
  .exitOverride()

const stop = new AbortController()
let current: GlobalOptions = { json: process.argv.includes('--json') }
let called: CommandEntry | undefined

for (const entry of commands) {
  const { summary, example, options = [], aliases = [], needs, act } = entry
  const command = new Command(wordOf(entry))
    .description(summary)
    .aliases(aliases)
    .addHelpText('after', () =>
      ['', 'With any command: --json, --quiet, --url <url>, --tenant <name>', '', 'Example:', `  $ ${example}`]
        .flatMap((line) => wrap(line, process.stdout.columns ?? 80))
        .join('\n'),
    )
    .configureHelp({ minWidthToWrap: 20 })
    .configureOutput({ outputError: () => {} })
    .exitOverride((error) => {
      called = entry
      throw error
    })
  for (const argument of entry.name.split(' ').slice(1)) command.argument(argument)
  for (const option of options) command.addOption(option())
  for (const flag of ['--json', '--quiet']) command.addOption(new Option(flag).hideHelp())
  for (const flag of ['--url <url>', '--tenant <name>']) command.addOption(new Option(flag).hideHelp())
  command.hook('preAction', () => {
    current = command.optsWithGlobals<GlobalOptions>()
    called = entry
  })
  command.action(async (...parameters: unknown[]) => {
    const given = current
    const args = parameters.slice(0, -2)
    if (needs === 'nothing') {
      process.once('SIGINT', () => stop.abort())
      return act({ args, options: given, signal: stop.signal } as never)
    }
    const { close, ...connection } = await connect(given)
    const interrupted = () => {
      if (stop.signal.aborted) process.exit(exitCodes.interrupted) // asked twice
      stop.abort()
    }
    process.on('SIGINT', interrupted)
    process.on('SIGTERM', interrupted)
    try {
      const context: Context = { ...connection, out: new Terminal(given), options: given, signal: stop.signal }
      await act({ args, options: given, signal: stop.signal, context } as never)
    } finally {
      await close()
    }
  })
  program.addCommand(command)
}

program.argument('[command]').argument('[topic]').allowExcessArguments()
program.action(async (word: string | undefined, topic: string | undefined) => {
  if (word === 'help') return help(topic)
  if (word !== undefined) throw unknown(word)
  const { status } = await import('./commands/status.ts')
  await status(program.opts<GlobalOptions>(), () => program.outputHelp())
})

/** `athanor help`, of a command, or `all`. */
function help(topic: string | undefined) {
  if (topic === undefined) return program.outputHelp()
  if (topic === 'all') return everything(new Terminal(current))
  const command = program.commands.find((one) => one.name() === topic || one.aliases().includes(topic))
  if (!command) throw unknown(topic)
  command.outputHelp()
}

function unknown(word: string) {
  const names = commands.flatMap((entry) => [wordOf(entry), ...(entry.aliases ?? [])])
  return fail('COMMAND_UNKNOWN', { command: word.slice(0, 80) }, { suggestion: suggest(word, names) })
}

try {
  await program.parseAsync()
} catch (thrown) {
  // what is no error ended by showing the help or the version
  const error = thrown instanceof CommanderError ? usageError(thrown, called?.example) : thrown
  process.exitCode = error ? report(error, new Terminal(current), called ? wordOf(called) : '') : 0
}
// an engine or a keep-alive connection must not hold the command open
if (process.exitCode !== undefined) process.stdout.write('', () => process.exit())
