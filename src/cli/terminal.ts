import { createRequire } from 'node:module'
import { stripVTControlCharacters, styleText } from 'node:util'
import type { createLogUpdate } from 'log-update'
import { tableLines, widthOf, wrap } from './layout.ts'

/** Loaded where lines are redrawn alone: a server that prints a line or two starts sooner without. */
const require = createRequire(import.meta.url)

type Style = Parameters<typeof styleText>[0]

/**
 * Where a command prints: data to standard output, talk to standard error. Colours and moving lines only on a terminal,
 * and not with NO_COLOR, in CI or with --json.
 */
export class Terminal {
  readonly json: boolean
  readonly quiet: boolean
  /** Whether standard error is a terminal where lines may be redrawn. */
  readonly live: boolean
  readonly #colour: boolean
  readonly #update: ReturnType<typeof createLogUpdate> | undefined

  constructor({ json = false, quiet = false }: { json?: boolean; quiet?: boolean }) {
    this.json = json
    this.quiet = quiet
    const able = !process.env.CI && process.env.TERM !== 'dumb'
    this.live = able && Boolean(process.stderr.isTTY) && !quiet && !json
    this.#colour = able && !process.env.NO_COLOR && !json
    const update = this.live ? (require('log-update') as { createLogUpdate: typeof createLogUpdate }) : undefined
    this.#update = update?.createLogUpdate(process.stderr)
  }

  get width(): number {
    return Math.max(40, Math.min(process.stderr.columns ?? 80, 160))
  }

  style(style: Style, text: string): string {
    return this.#colour ? styleText(style, text, { validateStream: false }) : text
  }

  /** Data: a line on standard output, as it is, so that it can be copied and piped. */
  data(line: string) {
    write(process.stdout, [line])
  }

  /** Data for people: a line on standard output, broken at spaces where a terminal is narrower. */
  prose(line: string, hang?: number) {
    write(process.stdout, wrap(line, dataWidth(), hang))
  }

  /** Data as it comes: part of a line on standard output, without what would steer the terminal. */
  piece(text: string) {
    process.stdout.write(process.stdout.isTTY ? printable(text) : text)
  }

  /** The one JSON document of a command. */
  document(value: unknown) {
    this.data(JSON.stringify(value))
  }

  /** Talk: a line on standard error, above what is being redrawn. */
  say(line = '') {
    if (!this.quiet && !this.json) this.complain(line)
  }

  /** A line on standard error, whatever is not to be told. */
  complain(line: string) {
    this.#update?.clear()
    const width = process.stderr.isTTY ? this.width : Number.POSITIVE_INFINITY
    write(
      process.stderr,
      line.split('\n').flatMap((one) => wrap(one, width)),
    )
  }

  /** Talk: the commands that come next, in one line or, where that is too long, one a line. */
  next(...commands: readonly string[]) {
    const [title, line] = ['  Next:  ', commands.join('   ·   ')]
    const broken = process.stderr.isTTY && widthOf(title + line) > this.width
    this.say(title + (broken ? commands.join(`\n${' '.repeat(title.length)}`) : line))
  }

  /** Redraws the live block; nothing happens where lines cannot be redrawn. */
  redraw(lines: readonly string[]) {
    this.#update?.(lines.join('\n'))
  }

  clear() {
    this.#update?.clear()
  }

  /** A table without borders, for people: see `tableLines`. */
  table(head: readonly string[], rows: readonly (readonly string[])[]) {
    write(process.stdout, this.lines(head, rows, dataWidth()))
  }

  lines(head: readonly string[], rows: readonly (readonly string[])[], width = this.width): string[] {
    return tableLines(head, rows, width, (text) => this.style('dim', text))
  }
}

/** As wide as the terminal that data goes to; without end in a pipe or a file. */
const dataWidth = () => (process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY)

/** Writes lines; without colours to what is no terminal. */
function write(stream: NodeJS.WriteStream, lines: readonly string[]) {
  const text = `${lines.join('\n')}\n`
  stream.write(stream.isTTY ? text : stripVTControlCharacters(text))
}

/** Text of a model or a file with control characters but line breaks and tabs made visible. */
export const printable = (text: string) =>
  text.replace(/\p{Cc}/gu, (character) => {
    if (character === '\n' || character === '\t') return character
    return character === '\r' ? '' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })

/** A bar of the given width, filled to a fraction, in eighths of a character. */
export function bar(fraction: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, fraction)) * width * 8)
  const full = Math.floor(eighths / 8)
  const part = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8]
  return `▕${('█'.repeat(full) + part).padEnd(width)}▏`
}

/** The course of some numbers in one line of blocks. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = downsample(values, width)
  const [low, high] = [Math.min(...shown), Math.max(...shown)]
  return shown.map((value) => '▁▂▃▄▅▆▇█'[high === low ? 0 : Math.round(((value - low) / (high - low)) * 7)]).join('')
}

/** At most `count` means of neighbouring numbers. */
function downsample(values: readonly number[], count: number): number[] {
  if (values.length <= count) return [...values]
  return Array.from({ length: count }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / count), Math.floor(((i + 1) * values.length) / count))
    return part.reduce((a, b) => a + b, 0) / part.length
  })
}

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = count
  let unit = 0
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

export const duration = (seconds: number) =>
  seconds < 60
    ? `${Math.round(seconds)}s`
    : `${Math.floor(seconds / 60)}m${String(Math.round(seconds % 60)).padStart(2, '0')}s`

export const compact = (count: number) =>
  new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(count)

/** `1 model`, `2 models`. */
export const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`

/** How long ago a time was, roughly. */
export function ago(iso: string): string {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000)
  for (const [unit, length] of [
    ['d', 86400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (seconds >= length) return `${Math.floor(seconds / length)}${unit} ago`
  }
  return 'just now'
}
