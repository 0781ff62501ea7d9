import { createRequire } from 'node:module'
import { styleText } from 'node:util'
import type { createLogUpdate } from 'log-update'
import type stringWidth from 'string-width'

/** What is loaded when it is needed alone: a server that prints a line or two starts sooner without. */
const require = createRequire(import.meta.url)
const widthOf = (text: string) => (require('string-width') as { default: typeof stringWidth }).default(text)

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
    const terminal = Boolean(process.stderr.isTTY) && !process.env.CI && process.env.TERM !== 'dumb'
    this.live = terminal && !quiet && !json
    this.#colour = terminal && !process.env.NO_COLOR && !json
    const update = this.live ? (require('log-update') as { createLogUpdate: typeof createLogUpdate }) : undefined
    this.#update = update?.createLogUpdate(process.stderr)
  }

  get width(): number {
    return Math.max(40, Math.min(process.stderr.columns ?? 80, 160))
  }

  style(style: Style, text: string): string {
    return this.#colour ? styleText(style, text, { validateStream: false }) : text
  }

  /** Data: a line on standard output. */
  data(line: string) {
    process.stdout.write(`${line}\n`)
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
    if (this.quiet || this.json) return
    this.#update?.clear()
    process.stderr.write(`${line}\n`)
  }

  /** Redraws the live block; nothing happens where lines cannot be redrawn. */
  redraw(lines: readonly string[]) {
    this.#update?.(lines.join('\n'))
  }

  clear() {
    this.#update?.clear()
  }

  /** A table without borders. */
  table(head: readonly string[], rows: readonly (readonly string[])[]) {
    for (const line of this.lines(head, rows)) this.data(line)
  }

  /** The lines of a table; wide characters count as two. */
  lines(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
    const widths = head.map((title, i) => Math.max(widthOf(title), ...rows.map((row) => widthOf(row[i] ?? ''))))
    const line = (cells: readonly string[]) =>
      cells
        .map((cell, i) => pad(cell, widths[i]))
        .join('  ')
        .trimEnd()
    return [this.style('dim', line(head)), ...rows.map(line)]
  }
}

/** Text of a model or a file with control characters but line breaks and tabs made visible. */
export const printable = (text: string) =>
  text.replace(/\p{Cc}/gu, (character) => {
    if (character === '\n' || character === '\t') return character
    return character === '\r' ? '' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })

const pad = (text: string, width: number) => text + ' '.repeat(Math.max(0, width - widthOf(text)))

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
