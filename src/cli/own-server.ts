import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { App, startApp } from '../app.ts'
import { writeTemporaryIn } from '../store/home.ts'

/**
 * `startApp` for a process that is a server's alone: what it writes for a while lies in its data folder, where nothing is left of
 * a process that was killed.
 */
export async function startOwn(...how: Parameters<typeof startApp>): Promise<App> {
  const house = await import('../app.ts')
  const app = await house.startApp(...how)
  const folder = join(app.config.home, 'tmp') // this process's by now
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder)
  writeTemporaryIn(folder)
  return app
}
