import { Athanor } from '../../client/src/index.ts'
import { configure } from '../base/config.ts'
import { readServerInfo } from '../store/home.ts'
import type { GlobalOptions } from './context.ts'

/** A server to talk to, and how to let go of it. */
export interface Connection {
  client: Athanor
  close(): Promise<void>
}

type Where = Pick<GlobalOptions, 'url' | 'tenant'>

function clientOf(url: string, key: string | undefined, { tenant }: Where): Athanor {
  return new Athanor({ url, ...(key && { key }), ...(tenant && { tenant }) })
}

/**
 * A client of the server named by --url or ATHANOR_URL, else of the one that runs on the data folder, if any. ATHANOR_KEY is
 * sent to it; a server of this machine's user takes a token of its data folder instead.
 */
export function findServer(where: Where): Athanor | undefined {
  const key = process.env.ATHANOR_KEY
  const named = where.url ?? process.env.ATHANOR_URL
  if (named) return clientOf(named, key, where)
  const running = readServerInfo(configure().home)
  return running && clientOf(running.url, key ?? running.key, where)
}

/** The server that is there, else one inside this process for the length of the command, on a port of its own. */
export async function connect(where: Where): Promise<Connection> {
  const client = findServer(where)
  if (client) return { client, close: async () => {} }
  const { startApp } = await import('../app.ts')
  const app = await startApp({ port: 0, requireKeys: false, logLevel: 'silent' })
  return { client: clientOf(app.url, undefined, where), close: () => app.close() }
}
