import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configure } from '../base/config.ts'
import { fail } from '../base/errors.ts'

/** What is sent to a server that its user has signed in to. */
export interface Login {
  key?: string
  tenant?: string
}

/** Servers by address, and the one that commands talk to. */
export interface Logins {
  current?: string
  servers: Readonly<Record<string, Login>>
}

/** Where keys are kept: in the data folder, for its user alone to read. */
export const loginsPath = () => join(configure().home, 'logins.json')

export function readLogins(): Logins {
  try {
    return JSON.parse(readFileSync(loginsPath(), 'utf8')) as Logins
  } catch {
    return { servers: {} }
  }
}

/** Written beside it and renamed, so that a key is never half there, nor readable by others in between. */
export function writeLogins(logins: Logins) {
  mkdirSync(configure().home, { recursive: true, mode: 0o700 })
  const partial = `${loginsPath()}.${process.pid}`
  writeFileSync(partial, `${JSON.stringify(logins, undefined, 2)}\n`, { mode: 0o600 })
  renameSync(partial, loginsPath())
}

/** An address as it is kept: scheme, host, port and path, without a slash at its end; throws OPTION_INVALID. */
export function addressOf(text: string): string {
  const url = URL.parse(text.includes('://') ? text : `http://${text}`)
  const reason =
    !url || !/^https?:$/.test(url.protocol)
      ? `expected an address such as https://models.example.org, got "${text.slice(0, 80)}"`
      : url.username || url.password
        ? 'a key is not part of the address; it is asked for'
        : undefined
  if (!url || reason) throw fail('OPTION_INVALID', { option: 'url', reason: reason! })
  return (url.origin + url.pathname).replace(/\/+$/, '')
}

/** What was given when signing in to a server; nothing where nobody did. */
export const loginOf = (url: string): Login => readLogins().servers[url.replace(/\/+$/, '')] ?? {}
