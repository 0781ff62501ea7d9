import { join } from 'node:path'
import type { App, startApp } from '../app.ts'
import { takeTemporary } from '../store/home.ts'

/** `startApp` for a process that is a server's alone: what it writes for a while lies in its data folder. */
export async function startOwn(...how: Parameters<typeof startApp>): Promise<App> {
  const { startApp } = await import('../app.ts')
  const app = await startApp(...how)
  takeTemporary(join(app.config.home, 'tmp')) // the folder is this process's by now
  return app
}
