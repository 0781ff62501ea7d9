import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Egress } from './egress.ts'
import { AthanorError } from './errors.ts'

const codeOf = (call: () => unknown) => {
  try {
    call()
  } catch (error) {
    return (error as AthanorError).code
  }
  return undefined
}

test('nothing may be called unless it is named, but loopback that the address names', () => {
  const none = new Egress([])
  for (const url of ['http://127.0.0.1:8000/v1', 'http://localhost', 'http://[::1]:80', 'http://[::ffff:127.0.0.1]/'])
    assert.equal(
      codeOf(() => none.check(url)),
      undefined,
      url,
    )
  for (const url of [
    'http://10.0.0.1',
    'http://169.254.169.254/',
    'https://example.com',
    'http://0.0.0.0/',
    'http://8.8.8.8',
  ])
    assert.equal(
      codeOf(() => none.check(url)),
      'HOST_FORBIDDEN',
      url,
    )
  for (const url of ['ftp://127.0.0.1', 'not a url', 'http://a:b@127.0.0.1', 'http://127.0.0.1/?key=1'])
    assert.equal(
      codeOf(() => none.check(url)),
      'BAD_REQUEST',
      url,
    )
})

test('ranges, addresses and names', () => {
  const some = new Egress(['10.1.0.0/16', 'fd00::/8', '192.168.1.7', 'API.example.com'])
  for (const url of ['http://10.1.2.3', 'http://[fd12::1]', 'http://192.168.1.7:8080', 'https://api.EXAMPLE.com/v1'])
    assert.equal(
      codeOf(() => some.check(url)),
      undefined,
      url,
    )
  for (const url of ['http://10.2.0.1', 'http://[fe80::1]', 'http://192.168.1.8'])
    assert.equal(
      codeOf(() => some.check(url)),
      'HOST_FORBIDDEN',
      url,
    )
  for (const entry of ['10.0.0.0/40', 'a b', '', 'http://x', '10.0.0.0/'])
    assert.equal(
      codeOf(() => new Egress([entry])),
      'OPTION_INVALID',
      entry,
    )
})

/** What a look-up of `host` passes on. */
const lookUp = (egress: Egress, host: string) =>
  new Promise<string | undefined>((resolve) => {
    egress.lookup(host, { all: false }, (error, address) =>
      resolve(error ? (error instanceof AthanorError ? error.code : 'ERROR') : String(address)),
    )
  })

test('a name reaches inner addresses only where these are allowed: what it stands for is looked at when it is called', async () => {
  // "localhost" under another name, as a name that was rebound would be
  const { hostname } = await import('node:os')
  const name = hostname().toLowerCase()
  const found = await lookUp(new Egress([name, '0.0.0.0/0', '::/0']), name)
  assert.ok(found === 'ERROR' || /^[\d.:a-f]+$/.test(found!), found)
  if (found !== 'ERROR') assert.equal(await lookUp(new Egress([name]), name), 'HOST_FORBIDDEN', found)
  assert.match((await lookUp(new Egress([]), 'localhost')) ?? '', /^(127\.|::1)/)
})
