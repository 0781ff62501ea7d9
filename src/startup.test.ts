import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'

const home = mkdtempSync(join(tmpdir(), 'athanor-startup-'))
after(() => rmSync(home, { recursive: true, force: true }))

/** Tells on standard error, when the process ends, which packages were loaded. */
const telling = `
  import { registerHooks } from 'node:module'
  const packages = new Set()
  registerHooks({
    load(url, context, next) {
      packages.add(/.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1])
      return next(url, context)
    },
  })
  process.on('exit', () => process.stderr.write(JSON.stringify([...packages])))`

test('a server that nobody has asked anything has loaded only what it cannot start without', async () => {
  const main = new URL('./cli/main.ts', import.meta.url).pathname
  const flags = ['--import', `data:text/javascript,${encodeURIComponent(telling)}`]
  const server = spawn(process.execPath, [...flags, main, 'serve', '--json', '--port', '0'], {
    env: { ...process.env, ATHANOR_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const told = text(server.stderr)
  await once(server.stdout, 'data')
  server.kill('SIGTERM')
  const loaded = new Set(JSON.parse(await told) as string[])
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
  ) as Record<'dependencies' | 'optionalDependencies', Record<string, string>>
  const ours = Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => loaded.has(name))
  assert.deepEqual(ours.sort(), ['commander', 'fastest-levenshtein', 'fastify', 'kysely'])
})
