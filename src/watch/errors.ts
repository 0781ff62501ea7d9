import { createHash } from 'node:crypto'
import type { ErrorGroup, ErrorGroups } from '../store/error-groups.ts'
import type { LogEntry } from '../store/log.ts'

const FLUSH_EVERY = 1_000
const PRUNE_EVERY = 3_600_000
const KEPT_DAYS = 90
const REQUESTS = 10
/** Frames of a stack that tell where an error came from. */
const FRAMES = 4

/**
 * What makes errors alike: code, event and model, and of unexpected ones the functions and files that they came through. What
 * a caller sent is no part of it, so callers cannot make up groups.
 */
function fingerprintOf({ code = '', event, model = '', detail }: LogEntry): string {
  return createHash('sha256')
    .update([code, event, model, ...framesOf(detail)].join('\n'))
    .digest('hex')
    .slice(0, 12)
}

/** Functions and file names of a stack, without places: they change with every version. */
function framesOf(stack = ''): string[] {
  const frames = stack.split('\n').filter((line) => line.trimStart().startsWith('at '))
  return frames
    .slice(0, FRAMES)
    .map((line) => line.trim().replace(/\(?(?:\w+:\/\/)?[^\s()]*[\\/]([^\\/():]+)(?::\d+)*\)?$/, '$1'))
}

/** Groups errors as they are logged, and keeps the groups. */
export class ErrorWatch {
  readonly #groups: ErrorGroups
  readonly #timer: NodeJS.Timeout
  #fresh = new Map<string, ErrorGroup>()
  #prunedAt = Number.NEGATIVE_INFINITY
  #flushing: Promise<void> = Promise.resolve()
  /** Told when groups cannot be stored; not logged as an error, which would be a group again. */
  readonly #unsaved: (error: unknown) => void

  constructor(groups: ErrorGroups, unsaved: (error: unknown) => void) {
    this.#groups = groups
    this.#unsaved = unsaved
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY).unref()
  }

  /** Counts a logged error. */
  add(entry: LogEntry & { code: string }) {
    const { at, code, event, model = '', message = '', version, requestId, detail } = entry
    const fingerprint = fingerprintOf(entry)
    const known = this.#fresh.get(fingerprint) ?? { count: 0, firstAt: at, requests: [] }
    this.#fresh.set(fingerprint, {
      fingerprint,
      code,
      event,
      model,
      message,
      count: known.count + 1,
      firstAt: known.firstAt,
      lastAt: at,
      requests: requestId ? [requestId, ...known.requests].slice(0, REQUESTS) : known.requests,
      ...(version !== undefined && { version }),
      ...(detail !== undefined && { detail }),
    })
  }

  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(async () => {
      const fresh = [...this.#fresh.values()]
      this.#fresh = new Map()
      try {
        await this.#groups.add(fresh)
        if (performance.now() - this.#prunedAt < PRUNE_EVERY) return
        this.#prunedAt = performance.now()
        await this.#groups.prune(new Date(Date.now() - KEPT_DAYS * 86_400_000).toISOString())
      } catch (error) {
        this.#unsaved(error)
      }
    })
    return this.#flushing
  }

  /** Newest first, without stacks. */
  async list(filter: Parameters<ErrorGroups['list']>[0]): Promise<ErrorGroup[]> {
    await this.flush()
    return (await this.#groups.list(filter)).map(({ detail: _detail, ...group }) => group)
  }

  /** A group with the stack of its newest error. */
  async get(fingerprint: string): Promise<ErrorGroup | undefined> {
    await this.flush()
    return this.#groups.get(fingerprint)
  }

  async close() {
    clearInterval(this.#timer)
    await this.flush()
  }
}
