import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { Athanor, AthanorError, type WhoAmI } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { findServer } from '../connect.ts'
import type { GlobalOptions } from '../context.ts'
import { addressOf, type Login, loginsPath, readLogins, writeLogins } from '../logins.ts'
import { Terminal } from '../terminal.ts'

/**
 * Signs in to a server: from then on commands talk to it. The key comes from ATHANOR_KEY, a pipe, or a question whose
 * answer is not shown, never from an option, which lists of processes show; it is tried before it is kept.
 */
export async function login(address: string, options: GlobalOptions) {
  const out = new Terminal(options)
  const url = addressOf(address)
  const known = readLogins()
  const { tenant = known.servers[url]?.tenant } = options
  const before = process.env.ATHANOR_KEY ?? known.servers[url]?.key
  const entryOf = (key?: string): Login => ({ ...(key && { key }), ...(tenant && { tenant }) })
  let entry = entryOf(before)
  const who = await new Athanor({ url, ...entry }).whoami().catch(async (error: unknown) => {
    if (!(error instanceof AthanorError && error.code === 'UNAUTHORIZED') || process.env.ATHANOR_KEY) throw error
    if (open.test(url))
      out.say(`${out.style('yellow', '!')} ${url} is not encrypted: others on the way can read the key`)
    entry = entryOf(await askKey(url))
    return new Athanor({ url, ...entry }).whoami()
  })
  writeLogins({ current: url, servers: { ...known.servers, [url]: entry } })
  if (out.json) return out.document({ url, ...who })
  out.say(`${out.style('green', '✓')} signed in to ${url} as ${described(who)}`)
  if (entry.key) out.say(`  The key is kept in ${loginsPath()}, for you alone to read.`)
  out.next('athanor models', 'athanor logout')
}

/** Forgets a server and its key: the one named, or the one that commands talk to. */
export function logout(address: string | undefined, options: GlobalOptions) {
  const out = new Terminal(options)
  const { current, servers } = readLogins()
  const url = address === undefined ? current : addressOf(address)
  if (url === undefined || !(url in servers)) throw fail('LOGIN_NOT_FOUND', { url: url ?? 'any server' })
  const { [url]: _, ...others } = servers
  writeLogins({ servers: others, ...(current !== url && current && { current }) })
  if (out.json) return out.document({ url })
  out.say(`signed out of ${url}; its key is forgotten here, and works on until it is revoked`)
}

/** Whom the server that commands talk to takes this user for, and what is left of limits. */
export async function whoami(options: GlobalOptions) {
  const out = new Terminal(options)
  const client = findServer(options)
  if (!client) {
    if (out.json) return out.document({ url: null })
    out.say('no server: commands work on the data folder of this machine')
    return out.next('athanor serve', 'athanor login URL')
  }
  const who = await client.whoami()
  if (out.json) return out.document({ url: client.url, ...who })
  out.data(`${client.url}: ${described(who)}`)
  const { models, doors, left, budgets } = who
  if (models) out.data(`  models    ${models.join(', ')}`)
  if (doors) out.data(`  doors     ${doors.join(', ')}`)
  for (const [what, { limit, remaining }] of Object.entries(left))
    out.data(`  ${what.padEnd(9)} ${remaining} of ${limit} left this minute`)
  for (const { budget, remaining, period } of budgets)
    out.data(`  budget    ${remaining} of ${budget} left${period === 'total' ? '' : ` this ${period}`}`)
}

/** Plain HTTP to another machine. */
const open = /^http:\/\/(?!localhost\b|127\.|\[::1\])/

const described = ({ key, role, tenant, operator }: WhoAmI) =>
  `${role} of the tenant "${tenant}"${operator ? ', operator' : ''} (${key})`

/** The key from a pipe, or from the terminal without showing it. */
async function askKey(url: string): Promise<string> {
  const hidden = new Writable({ write: (_piece, _encoding, done) => done() })
  const terminal = Boolean(process.stdin.isTTY)
  if (terminal) process.stderr.write(`Key for ${url} (not shown): `)
  const lines = createInterface({ input: process.stdin, output: hidden, terminal })
  const interrupted = new Promise<never>((_, refuse) => lines.once('SIGINT', () => refuse(fail('LOGIN_CANCELLED'))))
  const first = new Promise<string>((resolve) => {
    lines.once('line', resolve)
    lines.once('close', () => resolve(''))
  })
  try {
    const key = (await Promise.race([first, interrupted])).trim()
    if (key === '') throw fail('LOGIN_CANCELLED')
    return key
  } finally {
    lines.close()
    if (terminal) process.stderr.write('\n')
  }
}
