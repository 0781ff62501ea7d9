import { setTimeout } from 'node:timers/promises'
import { Athanor, type ClientOptions } from '../../client/src/index.ts'
import { configure } from '../base/config.ts'
import { asAthanorError } from '../base/errors.ts'
import { readServerInfo } from '../store/home.ts'
import type { GlobalOptions } from './context.ts'
import { type Login, loginOf, readLogins } from './logins.ts'
import { startOwn } from './own-server.ts'

/** A server to talk to, and how to let go of it. */
export interface Connection {
  client: Athanor
  /** It stays when the command ends. */
  lasting: boolean
  /** Whether its server went away since this was last asked, and another is there. */
  moved(): Promise<boolean>
  close(): Promise<void>
}

type Where = Pick<GlobalOptions, 'url' | 'tenant'>

/** A server on this machine's data folder: in this process, or in another. */
interface Local {
  readonly url: string
  readonly key?: string
  /** A command's, this one's or another's. */
  readonly passing?: boolean
  /** Absent if it is not in this process. */
  readonly close?: () => Promise<void>
}

function clientOf(url: string, { key, tenant }: Login, more: ClientOptions = {}): Athanor {
  return new Athanor({ url, ...(key && { key }), ...(tenant && { tenant }), ...more })
}

/** What is sent with every request before what was given when signing in. */
const given = ({ tenant }: Where): Login => {
  const key = process.env.ATHANOR_KEY
  return { ...(key && { key }), ...(tenant && { tenant }) }
}

/** The server named by --url or ATHANOR_URL, else the one signed in to. */
function namedServer(where: Where): Athanor | undefined {
  const url = where.url || process.env.ATHANOR_URL || readLogins().current
  return url ? clientOf(url, { ...loginOf(url), ...given(where) }) : undefined
}

/**
 * A client of the first of these: the server named by --url or ATHANOR_URL, the one signed in to, the one that runs on the
 * data folder. ATHANOR_KEY and --tenant go before what was given when signing in; a server of this machine's user takes a
 * token of its data folder where neither is there.
 */
export function findServer(where: Where): Athanor | undefined {
  const named = namedServer(where)
  if (named) return named
  const running = readServerInfo(configure().home)
  return running && clientOf(running.url, { ...(running.key && { key: running.key }), ...given(where) })
}

/** Milliseconds for a server that starts to listen, or for a short command to end, while it has the data folder. */
const PATIENCE = 5_000
/** Milliseconds for the command whose server was used to bring its work to a point from which it can be gone on with. */
const PATIENCE_WITH_END = 60_000

/**
 * The server that is there, else one inside this process for the length of the command, on a port of its own. Throws
 * HOME_BUSY when another process keeps the data folder and no server is there.
 */
export async function connect(where: Where): Promise<Connection> {
  const named = namedServer(where)
  if (named) return { client: named, lasting: true, moved: async () => false, close: async () => {} }
  const first = await reach(PATIENCE)
  const login = { ...(first.key && { key: first.key }), ...given(where) }
  if (!first.passing)
    return { client: clientOf(first.url, login), lasting: true, moved: async () => false, close: async () => {} }
  const passing = new Passing(first)
  return {
    client: clientOf(first.url, login, { fetch: (url, init) => passing.send(url.slice(first.url.length), init) }),
    lasting: false,
    moved: () => passing.moved(),
    close: () => passing.close(),
  }
}

/** The server on the data folder, or one that begins here; `lost` is no server any more. Throws HOME_BUSY. */
async function reach(patience: number, lost?: string): Promise<Local> {
  for (const until = Date.now() + patience; ; await setTimeout(100)) {
    const running = readServerInfo(configure().home)
    if (running && running.url !== lost) return running
    try {
      const app = await startOwn({ port: 0, requireKeys: false, logLevel: 'silent' }, { passing: true })
      return { url: app.url, passing: true, close: () => app.close() }
    } catch (error) {
      if (asAthanorError(error).code !== 'HOME_BUSY' || Date.now() > until) throw error
    }
  }
}

/** The server of a command, this one's or another's. When another's ends, or is killed, the next is that of a third, or this one's. */
class Passing {
  #server: Local
  #told: Local
  #changing: Promise<void> | undefined

  constructor(server: Local) {
    this.#server = server
    this.#told = server
  }

  /** Sends a request to the server that is there; once more to the next one where the first has not taken it. */
  async send(path: string, init: RequestInit): Promise<Response> {
    for (;;) {
      const to = this.#server
      let taken = false
      let answer: Response | undefined
      let broken: unknown
      try {
        answer = await fetch(to.url + path, init)
        if (answer.status !== 503 || !isGone(to)) return answer // 503: it is about to end
      } catch (error) {
        taken = !isRefused(error)
        if (init.signal?.aborted || (taken && !isGone(to))) throw error
        broken = error
      }
      await this.#change(to)
      // what was begun may be done, and a stream cannot be read twice
      if (taken || init.body instanceof ReadableStream) {
        if (answer) return answer
        throw broken
      }
      await answer?.body?.cancel()
    }
  }

  async moved(): Promise<boolean> {
    if (isGone(this.#server)) await this.#change(this.#server)
    const moved = this.#told !== this.#server
    this.#told = this.#server
    return moved
  }

  async close() {
    await this.#server.close?.()
  }

  #change(from: Local): Promise<void> {
    if (this.#server !== from) return Promise.resolve()
    this.#changing ??= reach(PATIENCE_WITH_END, from.url)
      .then((server) => {
        this.#server = server
      })
      .finally(() => {
        this.#changing = undefined
      })
    return this.#changing
  }
}

/** Whether the command whose server it was has ended, or is about to. */
const isGone = ({ url, close }: Local) => close === undefined && readServerInfo(configure().home)?.url !== url

/** Nobody listens there: the request was not sent. */
const isRefused = (error: unknown) => (error as { cause?: { code?: string } }).cause?.code === 'ECONNREFUSED'
