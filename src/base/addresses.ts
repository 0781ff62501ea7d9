import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { isInside } from './egress.ts'
import { fail } from './errors.ts'

const refused = (host: string, reason: string) => fail('ADDRESS_REFUSED', { host: host.slice(0, 100), reason })
const bare = (host: string) => host.replace(/^\[|\]$/g, '')

/**
 * An address that this server may send to. Hosts that are allowed by name may be anywhere; if there are such, no others
 * are; if there are none, all but those inside. Throws ADDRESS_REFUSED.
 */
export async function checkAddress(address: string, allowed: readonly string[]): Promise<URL> {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password)
    throw refused(address, 'expected an http or https address without a password')
  const host = bare(url.hostname)
  if (allowed.includes(host)) return url
  if (allowed.length > 0) throw refused(host, 'it is not among the hosts that are allowed')
  const found = isIP(host) ? [{ address: host }] : await lookup(host, { all: true }).catch(() => [])
  if (found.length === 0) throw refused(host, 'its name does not resolve')
  if (found.some((one) => isInside(one.address))) throw refused(host, 'it is an address of this machine or its network')
  return url
}

/** For connections to an address that was checked: a name may mean another address by now. */
export function checkedLookup(allowed: readonly string[]): LookupFunction {
  return (host, options, done) => {
    lookup(host, { ...options, all: true }).then(
      (found) => {
        const bad = !allowed.includes(host) && found.some(({ address }) => isInside(address))
        if (bad) return done(refused(host, 'it is an address of this machine or its network'), '', 0)
        if (options.all) return done(null, found)
        return done(null, found[0].address, found[0].family)
      },
      (error: NodeJS.ErrnoException) => done(error, '', 0),
    )
  }
}
