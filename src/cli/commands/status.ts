import { configure } from '../../base/config.ts'
import { findServer } from '../connect.ts'
import type { GlobalOptions } from '../context.ts'
import { duration, plural, Terminal } from '../terminal.ts'

/** `athanor` alone: what runs, or how to begin. */
export async function status(options: GlobalOptions, help: () => void) {
  const out = new Terminal(options)
  const server = findServer(options)
  if (!server) {
    if (out.json) out.document({ running: false, home: configure().home })
    else help()
    return
  }
  const now = await server.status()
  if (out.json) return out.document({ running: true, ...now })
  out.data(`athanor ${now.version} runs at ${now.url} (process ${now.pid}, up ${duration(now.uptimeSeconds)})`)
  out.data(
    `${plural(now.models.registered, 'model')}, ${now.models.loaded} loaded; ${plural(now.runs.active, 'training run')}`,
  )
  out.next('athanor models', 'athanor ps', 'athanor --help')
}
