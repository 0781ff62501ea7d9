import { Athanor } from '../../client/src/index.ts'
import { configure } from '../base/config.ts'
import { readServerInfo } from '../store/home.ts'

/** A server to talk to, and how to let go of it. */
export interface Connection {
  client: Athanor
  close(): Promise<void>
}

/**
 * The server named by --url or ATHANOR_URL, else the one that runs on the data folder, else one inside this process for
 * the length of the command, on a port of its own.
 */
export async function connect(url: string | undefined): Promise<Connection> {
  const named = url ?? process.env.ATHANOR_URL
  if (named) return { client: new Athanor({ url: named }), close: async () => {} }
  const running = readServerInfo(configure().home)
  if (running) return { client: new Athanor({ url: running.url }), close: async () => {} }
  const { startApp } = await import('../app.ts')
  const app = await startApp({ port: 0, logLevel: 'silent' })
  return { client: new Athanor({ url: app.url }), close: () => app.close() }
}
