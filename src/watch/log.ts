import { createRequire } from 'node:module'
import type { Logger, pino as Pino } from 'pino'
import type { Config } from '../base/config.ts'
import { AthanorError, asAthanorError } from '../base/errors.ts'
import type { LogEntries, LogEntry } from '../store/log.ts'

/** Entries that may wait for the database; beyond it they are counted and dropped. */
const WAITING_LIMIT = 5_000
const FLUSH_EVERY = 250

export type Context = Pick<LogEntry, 'model' | 'version' | 'requestId' | 'ms'>

const levels = ['debug', 'info', 'warn', 'error', 'silent'] as const

/**
 * The server's log: structured lines on standard error, and what people look for later in the database. Writing never
 * holds up a request.
 */
export class Log {
  readonly #level: Config['logLevel']
  #pino: Logger | undefined
  readonly #entries: LogEntries
  #waiting: LogEntry[] = []
  #dropped = 0
  readonly #timer: NodeJS.Timeout
  /** Told of each error. */
  onError: (entry: LogEntry & { code: string }) => void = () => {}

  constructor(entries: LogEntries, level: Config['logLevel']) {
    this.#entries = entries
    this.#level = level
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY).unref()
  }

  info(event: string, context: Context & { message?: string } = {}) {
    this.#write({ at: now(), level: 'info', event, ...context })
  }

  warn(event: string, context: Context & { message?: string } = {}) {
    this.#write({ at: now(), level: 'warn', event, ...context })
  }

  /** An error as callers saw it; the cause and stack of an unexpected one are kept for operators. */
  error(event: string, thrown: unknown, context: Context = {}) {
    const error = asAthanorError(thrown)
    const { code, message, hint, status, cause } = error
    const detail = cause instanceof Error ? cause.stack : typeof cause === 'string' ? cause : undefined
    const level = status >= 500 ? 'error' : 'warn'
    const entry = {
      at: now(),
      level,
      event,
      code,
      message,
      hint,
      ...context,
      ...(detail && { detail: detail.slice(0, 8000) }),
    } as const
    this.#write(entry)
    this.onError(entry)
  }

  async flush() {
    const batch = this.#waiting
    this.#waiting = []
    if (this.#dropped > 0) {
      batch.push({ at: now(), level: 'warn', event: 'log.dropped', message: `${this.#dropped} entries were dropped` })
      this.#dropped = 0
    }
    await this.#entries.add(batch).catch((error: unknown) => {
      this.#lines.error({ error: (error as Error).message }, 'the log cannot be stored')
    })
  }

  async close() {
    clearInterval(this.#timer)
    await this.flush()
  }

  /** What writes lines; loaded with the first of them. */
  get #lines(): Logger {
    if (!this.#pino) {
      const { pino } = createRequire(import.meta.url)('pino') as { pino: typeof Pino }
      const options = { level: this.#level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
      this.#pino = pino(options, pino.destination(2))
    }
    return this.#pino
  }

  #write(entry: LogEntry) {
    const { level, event, message, at: _at, ...fields } = entry
    if (levels.indexOf(level) >= levels.indexOf(this.#level)) this.#lines[level]({ event, ...fields }, message ?? event)
    if (this.#waiting.length < WAITING_LIMIT) this.#waiting.push(entry)
    else this.#dropped++
  }
}

const now = () => new Date().toISOString()

/** Whether an error is the caller's own and not worth keeping: everything below 500 but refusals under load. */
export const isCallerError = (error: unknown) =>
  error instanceof AthanorError && error.status < 500 && error.status !== 429
