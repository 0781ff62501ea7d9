import type { LoggedRequest, LoggedRequests, RequestFilter } from '../../store/requests.ts'
import type { Log } from '../log.ts'
import type { Served } from '../metrics/served.ts'

const FLUSH_EVERY = 500
/** Requests that may wait for the database; beyond it they are left out. */
const WAITING_LIMIT = 1000
const PRUNE_EVERY = 600_000
/** Answered requests that are logged where no share is said: so many at once, and a second from then on. */
const [AT_ONCE, A_SECOND] = [100, 10]
/** Characters kept of an input or output. */
const LENGTH = 20_000

interface RequestLogOptions {
  /** Share of answered requests that are logged, or as many as people can look at; failed ones are all. */
  share: number | undefined
  /** Days that they are kept. */
  days: number
  /** Makes of an input or output what is kept of it; without it none is kept. */
  keep?: (text: string) => string
}

/** Logs some of the answered requests and all failures, for people to look at. */
export class RequestLog {
  readonly #requests: LoggedRequests
  readonly #log: Log
  readonly #options: RequestLogOptions
  readonly #timer: NodeJS.Timeout
  #waiting: LoggedRequest[] = []
  /** Answered requests that may be logged, as of a time in milliseconds. */
  #owed = 0
  #owedAt = 0
  #prunedAt = Number.NEGATIVE_INFINITY
  #flushing: Promise<void> = Promise.resolve()

  constructor(requests: LoggedRequests, log: Log, options: RequestLogOptions) {
    this.#requests = requests
    this.#log = log
    this.#options = options
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY).unref()
  }

  observe({ requestId, door, model, version, code, ms, rows, at, written, content }: Served) {
    if (code === undefined && !this.#picks(at)) return
    if (this.#waiting.length >= WAITING_LIMIT) return
    this.#waiting.push({
      requestId,
      at: new Date(at).toISOString(),
      door,
      ms,
      rows,
      ...(model !== undefined && { model }),
      ...(version !== undefined && { version }),
      ...(code !== undefined && { code }),
      ...written?.usage,
      ...this.#kept(content),
    })
  }

  /** Newest first. */
  async list(filter: RequestFilter): Promise<LoggedRequest[]> {
    await this.flush()
    return this.#requests.list(filter)
  }

  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(async () => {
      const batch = this.#waiting
      this.#waiting = []
      try {
        await this.#requests.add(batch)
        if (performance.now() - this.#prunedAt < PRUNE_EVERY) return
        this.#prunedAt = performance.now()
        await this.#requests.prune(new Date(Date.now() - this.#options.days * 86_400_000).toISOString())
      } catch (error) {
        this.#log.error('requests.unsaved', error)
      }
    })
    return this.#flushing
  }

  async close() {
    clearInterval(this.#timer)
    await this.flush()
  }

  #picks(at: number): boolean {
    const { share } = this.#options
    if (share !== undefined) this.#owed += share
    else {
      // none are owed for a clock that was set back
      const passed = Math.max(0, at - this.#owedAt) / 1000
      this.#owed = Math.min(AT_ONCE, this.#owed + A_SECOND * passed)
      this.#owedAt = at
    }
    if (this.#owed < 1) return false
    this.#owed--
    return true
  }

  #kept(content: Served['content']) {
    const { keep } = this.#options
    if (!keep || !content) return {}
    return Object.fromEntries(Object.entries(content()).map(([name, text]) => [name, keep(text.slice(0, LENGTH))]))
  }
}
