import { setFlagsFromString } from 'node:v8'
import { fail } from '../../base/errors.ts'
import { parseBytes, parseDuration } from '../../base/units.ts'
import type { GlobalOptions } from '../context.ts'
import { readLogins } from '../logins.ts'
import { startOwn } from '../own-server.ts'
import { Terminal } from '../terminal.ts'

interface ServeFlags {
  port?: string
  host?: string
  requireKeys?: boolean
  log?: string
  door?: string[]
  keepAlive?: string
  memoryBudget?: string
}

/** What a server tells of itself when it is ready. */
const places = [
  ['API', '/api/models'],
  ['OpenAI', '/v1'],
  ['Open Inference Protocol', '/v2'],
  ['metrics', '/metrics'],
  ['description', '/openapi.json'],
] as const

/** Runs the server in the foreground until Ctrl-C or SIGTERM. */
export async function serve(options: GlobalOptions & ServeFlags) {
  const out = new Terminal(options)
  const port = options.port === undefined ? undefined : Number(options.port)
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port < 65_536))
    throw fail('OPTION_INVALID', { option: 'port', reason: `expected 0 to 65535, got "${options.port}"` })
  // the garbage of loading modules would grow the young generation for good; under load it may grow
  setFlagsFromString('--semi-space-growth-factor=1')
  const { parseDoorPort } = await import('../../doors/ports.ts')
  const app = await startOwn({
    doorPorts: (options.door ?? []).map(parseDoorPort),
    ...(port !== undefined && { port }),
    ...(options.host !== undefined && { host: options.host }),
    ...(options.requireKeys && { requireKeys: true }),
    ...(options.keepAlive !== undefined && { keepAlive: parseDuration('keep-alive', options.keepAlive) }),
    ...(options.memoryBudget !== undefined && { memoryBudget: parseBytes('memory-budget', options.memoryBudget) }),
    logLevel: (options.log ?? 'warn') as 'warn',
  })
  setFlagsFromString('--semi-space-growth-factor=2')
  app.house.log.info('server.started', { message: app.url })
  // before anyone is told that it is ready, who may end it at once
  const ended = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  const { version } = await import('../../base/version.ts')
  if (out.json)
    out.document({ url: app.url, doors: app.doorPorts, pid: process.pid, readyMs: Math.round(performance.now()) })
  else {
    out.say(`${out.style('bold', 'athanor')} ${version}  ready in ${Math.round(performance.now())} ms`)
    for (const [what, path] of places) out.say(`  ➜ ${what.padEnd(24)} ${app.url}${path}`)
    for (const { name, model, port } of app.doorPorts)
      out.say(`  ➜ ${name.padEnd(24)} port ${port}${model === undefined ? '' : `, ${model}`}`)
    const elsewhere = process.env.ATHANOR_URL ?? readLogins().current
    if (elsewhere)
      out.say(`  Commands talk to ${elsewhere}; to this server with --url ${app.url}, or after athanor logout`)
    else out.say('  In another terminal:  athanor train DATA.csv   ·   athanor run MODEL "…"')
    out.say('  Ctrl-C ends the server.')
  }
  await ended
  out.say('ending …')
  await app.close()
}
