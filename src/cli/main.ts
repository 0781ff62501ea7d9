import { Command, CommanderError, Option } from 'commander'
import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import { version } from '../base/version.ts'
import { commands } from './commands.ts'
import { connect } from './connect.ts'
import { type Context, exitCodes, type GlobalOptions } from './context.ts'
import { report } from './report.ts'
import { Terminal } from './terminal.ts'

const program = new Command('athanor')
  .description('Train, register, serve and watch AI models, without Python.')
  .version(version)
  .option('--json', 'print one JSON document on standard output')
  .option('--quiet', 'print results only')
  .addOption(new Option('--url <url>', 'the server to talk to').env('ATHANOR_URL'))
  .addOption(new Option('--tenant <name>', 'the tenant to act for, as an operator').env('ATHANOR_TENANT'))
  .configureHelp({ showGlobalOptions: true })
  .addHelpText('after', '\nData is kept in ATHANOR_HOME (default ~/.athanor). A first try: athanor demo')
  .exitOverride()

const stop = new AbortController()
let current: GlobalOptions = { json: process.argv.includes('--json') }

for (const { name, summary, group, example, options = [], needs, act } of commands) {
  const command = new Command(name.split(' ')[0])
    .description(summary)
    .helpGroup(group)
    .addHelpText('after', `\nExample:\n  $ ${example}`)
    .exitOverride()
  for (const argument of name.split(' ').slice(1)) command.argument(argument)
  for (const option of options) command.addOption(option())
  for (const flag of ['--json', '--quiet']) command.addOption(new Option(flag).hideHelp())
  for (const flag of ['--url <url>', '--tenant <name>']) command.addOption(new Option(flag).hideHelp())
  command.action(async (...parameters: unknown[]) => {
    const given = command.optsWithGlobals<GlobalOptions>()
    current = given
    const args = parameters.slice(0, -2)
    if (needs === 'nothing') {
      process.once('SIGINT', () => stop.abort())
      return act({ args, options: given, signal: stop.signal } as never)
    }
    const { client, close } = await connect(given)
    const interrupted = () => {
      if (stop.signal.aborted) process.exit(exitCodes.interrupted) // asked twice
      stop.abort()
    }
    process.on('SIGINT', interrupted)
    process.on('SIGTERM', interrupted)
    try {
      const context: Context = { client, out: new Terminal(given), options: given, signal: stop.signal }
      await act({ args, options: given, signal: stop.signal, context } as never)
    } finally {
      await close()
    }
  })
  program.addCommand(command)
}

program.argument('[command]').allowExcessArguments()
program.action(async (command: string | undefined) => {
  if (command !== undefined) {
    const names = commands.map(({ name }) => name.split(' ')[0])
    throw fail('COMMAND_UNKNOWN', { command: command.slice(0, 80) }, { suggestion: suggest(command, names) })
  }
  const { status } = await import('./commands/status.ts')
  await status(program.opts<GlobalOptions>(), () => program.outputHelp())
})

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usage
  else process.exitCode = report(error, new Terminal(current))
}
// an engine or a keep-alive connection must not hold the command open
if (process.exitCode !== undefined) process.stdout.write('', () => process.exit())
