import { setTimeout } from 'node:timers/promises'
import { Athanor } from '../../client/src/index.ts'
import { configure } from '../base/config.ts'
import { asAthanorError } from '../base/errors.ts'
import { readServerInfo } from '../store/home.ts'
import type { GlobalOptions } from './context.ts'
import { type Login, loginOf, readLogins } from './logins.ts'

/** A server to talk to, and how to let go of it. */
export interface Connection {
  client: Athanor
  /** It is inside this process and ends with the command. */
  own: boolean
  close(): Promise<void>
}

type Where = Pick<GlobalOptions, 'url' | 'tenant'>

function clientOf(url: string, { key, tenant }: Login): Athanor {
  return new Athanor({ url, ...(key && { key }), ...(tenant && { tenant }) })
}

/**
 * A client of the first of these: the server named by --url or ATHANOR_URL, the one signed in to, the one that runs on the
 * data folder. ATHANOR_KEY and --tenant go before what was given when signing in; a server of this machine's user takes a
 * token of its data folder where neither is there.
 */
export function findServer({ url, tenant }: Where): Athanor | undefined {
  const key = process.env.ATHANOR_KEY
  const given = { ...(key && { key }), ...(tenant && { tenant }) }
  const remote = url || process.env.ATHANOR_URL || readLogins().current
  if (remote) return clientOf(remote, { ...loginOf(remote), ...given })
  const running = readServerInfo(configure().home)
  return running && clientOf(running.url, { ...(running.key && { key: running.key }), ...given })
}

/** Milliseconds for a server that starts to listen, or for a short command to end, while it has the data folder. */
const PATIENCE = 5_000

/**
 * The server that is there, else one inside this process for the length of the command, on a port of its own. Throws
 * HOME_BUSY when another process keeps the data folder and no server is there.
 */
export async function connect(where: Where): Promise<Connection> {
  for (const until = Date.now() + PATIENCE; ; await setTimeout(100)) {
    const client = findServer(where)
    if (client) return { client, own: false, close: async () => {} }
    try {
      const { startApp } = await import('../app.ts')
      const app = await startApp({ port: 0, requireKeys: false, logLevel: 'silent' })
      const { tenant } = where
      return { client: clientOf(app.url, { ...(tenant && { tenant }) }), own: true, close: () => app.close() }
    } catch (error) {
      if (asAthanorError(error).code !== 'HOME_BUSY' || Date.now() > until) throw error
    }
  }
}
