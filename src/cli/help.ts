import { version } from '../base/version.ts'
import { commands } from './commands.ts'
import { pad, wrap } from './layout.ts'
import type { Terminal } from './terminal.ts'

/** The name of a command without its arguments. */
export const wordOf = ({ name }: { name: string }) => name.split(' ')[0]

const TITLE = 8
const NAME = 10

/** All of the CLI on one screen: each group with the commands that most people need, and the names of the others. */
export function overview(out: Terminal, width: number): string[] {
  const lines = [...wrap(`athanor ${version}: train, refine, register, serve and watch AI models`, width), '']
  for (const group of new Set(commands.map(({ group }) => group))) {
    const own = commands.filter((command) => command.group === group)
    const shown = own.filter(({ brief }) => brief !== undefined)
    const others = own.filter(({ brief }) => brief === undefined).map(wordOf)
    const rows = [
      ...shown.map((command) => pad(wordOf(command), NAME) + command.brief),
      pad('also', NAME) + others.join(', '),
    ]
    const hang = TITLE + NAME
    for (const [i, row] of rows.entries())
      lines.push(...wrap(out.style('bold', pad(i === 0 ? group : '', TITLE)) + row, width, hang))
  }
  return [
    ...lines,
    '',
    ...wrap('athanor COMMAND --help   its options, and an example', width),
    ...wrap('athanor help all         what every command does', width),
    ...wrap('With any of them: --json, --quiet, --url URL, --tenant NAME', width),
  ]
}

/** Prints every command with what it does. */
export function everything(out: Terminal) {
  if (out.json)
    return out.document(commands.map(({ group, name, summary, example }) => ({ group, name, summary, example })))
  let group = ''
  for (const command of commands) {
    if (command.group !== group) {
      if (group !== '') out.data('')
      group = command.group
      out.data(out.style('bold', group))
    }
    out.prose(`  ${pad(wordOf(command), 12)} ${command.summary}`, 15)
  }
}
