import { type LookupAddress, lookup as resolveName } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { fail } from './errors.ts'

/** Where nothing on the internet stands: calls go there only where the address itself is allowed (RFC 6890). */
const inner = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const)
  inner.addSubnet(network, bits, 'ipv4')
for (const [network, bits] of [
  ['::', 96],
  ['64:ff9b::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  inner.addSubnet(network, bits, 'ipv6')

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** IPv4 written as IPv6 is the IPv4 address. */
const plain = (address: string) => address.replace(/^::ffff:(?=\d+\.)/i, '')
const familyOf = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4')
const isIn = (list: BlockList, address: string) => list.check(plain(address), familyOf(plain(address)))

/** Whether an address is of this machine, its network, or nobody's. */
export const isInside = (address: string) => isIn(inner, address)

/**
 * Which hosts this server may call. A host is allowed by its name, by its address, or by a range that its address lies in
 * (`api.example.com`, `10.1.2.3`, `10.1.0.0/16`, `fd00::/8`). What a name stands for is looked at again at each connection:
 * a name that is allowed does not reach inner addresses unless these are allowed themselves. Loopback is allowed where the
 * address to call names it.
 */
export class Egress {
  readonly #names = new Set<string>()
  readonly #ranges = new BlockList()

  /** Throws OPTION_INVALID for what is neither a host name nor an address or range. */
  constructor(entries: readonly string[]) {
    for (const entry of entries.map((one) => one.trim().toLowerCase())) {
      const [address, bits] = entry.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      const size = bits === undefined ? undefined : Number(bits)
      if (isIP(address) && size === undefined) this.#ranges.addAddress(address, family)
      else if (isIP(address) && Number.isInteger(size) && bits !== '' && size! <= (family === 'ipv6' ? 128 : 32))
        this.#ranges.addSubnet(address, size!, family)
      else if (/^[a-z0-9_]([a-z0-9._-]*[a-z0-9])?$/.test(entry)) this.#names.add(entry)
      else
        throw fail('OPTION_INVALID', {
          option: 'allowedHosts',
          reason: `"${entry.slice(0, 80)}" is no host name, address or range`,
        })
    }
  }

  /** The address as a URL that may be called; throws BAD_REQUEST or HOST_FORBIDDEN. */
  check(address: string): URL {
    const url = URL.canParse(address) ? new URL(address) : undefined
    if (!url || !['http:', 'https:'].includes(url.protocol))
      throw fail('BAD_REQUEST', { message: 'url: expected an http or https address', param: 'url' })
    if (url.username || url.password || url.search || url.hash)
      throw fail('BAD_REQUEST', { message: 'url: expected no user, password, query or fragment', param: 'url' })
    const host = hostOf(url)
    const allowed = isIP(host) ? this.#reaches(host, host) : host === 'localhost' || this.#names.has(host)
    // a name that is not listed may still stand for addresses that are: the look-up decides
    if (!allowed && (isIP(host) || this.#ranges.rules.length === 0)) throw fail('HOST_FORBIDDEN', { host })
    return url
  }

  /** Looks a name up for a connection and passes on only addresses that may be called. */
  readonly lookup: LookupFunction = (host, options, done) => {
    resolveName(host, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error) return done(error, [])
      const usable = found.filter(({ address }) => this.#reaches(host.toLowerCase(), address))
      const [first] = usable
      if (!first) return done(fail('HOST_FORBIDDEN', { host }) as NodeJS.ErrnoException, [])
      if (options.all) done(null, usable)
      else done(null, first.address, first.family)
    })
  }

  #reaches(host: string, address: string): boolean {
    if (isIn(this.#ranges, address)) return true
    if (isIn(loopback, address)) return host === 'localhost' || isIn(loopback, host)
    return this.#names.has(host) && !isIn(inner, address)
  }
}

/** The host of a URL in lower case, without the brackets of IPv6. */
const hostOf = ({ hostname }: URL) => hostname.toLowerCase().replace(/^\[|\]$/g, '')
