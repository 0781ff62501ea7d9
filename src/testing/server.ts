import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type App, startApp } from '../app.ts'
import type { Config } from '../base/config.ts'
import { placesAt } from './backends.ts'

export interface TestServer {
  app: App
  url: string
  close(): Promise<void>
}

/** A server on a fresh data folder and any free port, for the tests of doors. */
export async function startTestServer(config: Partial<Config> = {}): Promise<TestServer> {
  const home = mkdtempSync(join(tmpdir(), 'athanor-door-'))
  const app = await startApp({
    home,
    ...(await placesAt(home)),
    port: 0,
    logLevel: 'silent',
    spareEngine: false,
    ...config,
  })
  return {
    app,
    url: app.url,
    async close() {
      await app.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}
