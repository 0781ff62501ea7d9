import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { Access } from './access/access.ts'
import { readOidc } from './access/oidc.ts'
import { type App, startApp } from './app.ts'
import { CLIENT, startProvider, type TestProvider } from './testing/login.ts'
import { homeWithKeys } from './testing/tenants.ts'

const { home, places, keys } = await homeWithKeys({
  operator: { name: 'operator', role: 'admin', tenant: 'default' },
  admin: { name: 'admin', role: 'admin', tenant: 'acme' },
})
const groups: Record<string, string[]> = { 'li@example.com': ['staff', 'ml'], 'root@example.com': ['ops'] }
let provider: TestProvider
let app: App
const oidcOf = (issuer: string) => ({
  ATHANOR_OIDC_ISSUER: issuer,
  ATHANOR_OIDC_AUDIENCE: CLIENT,
  ATHANOR_OIDC_ROLES: 'ml=acme:developer,ops=default:admin,gone=nowhere:admin',
})
before(async () => {
  provider = await startProvider((person) => groups[person] ?? [])
  app = await startApp({
    home,
    ...places,
    port: 0,
    logLevel: 'silent',
    requireKeys: true,
    oidc: oidcOf(provider.issuer),
  })
})
after(async () => {
  await app.close()
  await provider.close()
  rmSync(home, { recursive: true, force: true })
})

async function ask(token: string, path = '/api/whoami', headers: Record<string, string> = {}) {
  const response = await fetch(app.url + path, { headers: { authorization: `Bearer ${token}`, ...headers } })
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown>,
    headers: response.headers,
  }
}
const put = (path: string, body: object) =>
  fetch(app.url + path, {
    method: 'PUT',
    headers: { 'api-key': keys.admin, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

test('people sign in elsewhere: groups of their token, or the users of a tenant, say what they may', async () => {
  assert.deepEqual((await ask('none', '/api/login')).body, { issuer: provider.issuer, audience: CLIENT })
  const li = await provider.signIn('li@example.com')
  const { status, body } = await ask(li)
  assert.equal(status, 200, JSON.stringify(body))
  assert.deepEqual([body.tenant, body.role, body.operator], ['acme', 'developer', false])
  assert.equal((await ask(li, '/api/keys')).status, 403)
  assert.equal((await ask(li, '/api/whoami', { 'x-athanor-tenant': 'default' })).status, 404)
  const root = await provider.signIn('root@example.com')
  assert.deepEqual((await ask(root)).body.operator, true)
  assert.equal((await ask(root, '/api/whoami', { 'x-athanor-tenant': 'acme' })).body.tenant, 'acme')

  const wang = await provider.signIn('wang@example.com')
  assert.equal((await ask(wang)).status, 401, 'in no group, and no user')
  await put('/api/users/wang@example.com', { role: 'viewer' })
  assert.deepEqual((await ask(wang)).body.role, 'viewer')
  await put('/api/users/wang@example.com', { role: 'user', disabled: true })
  assert.equal((await ask(wang)).status, 401)
  await put('/api/users/li@example.com', { role: 'viewer', disabled: true })
  assert.equal((await ask(li)).status, 401, 'disabled, whatever the group')
  await put('/api/users/li@example.com', { role: 'viewer' })
  assert.equal((await ask(li)).body.role, 'developer')
})

test('a token that is not right is as good as none', async () => {
  const { body: none } = await ask('')
  const { requestId: _, ...expected } = (none.error ?? none) as Record<string, unknown>
  const claims = { email: 'root@example.com', email_verified: true, groups: ['ops'] }
  const made = (changes: Record<string, unknown> = {}, header: { alg?: string; kid?: string } = {}) =>
    new SignJWT({
      sub: 'root',
      iss: provider.issuer,
      aud: CLIENT,
      exp: Date.now() / 1000 + 60,
      ...claims,
      ...changes,
    }).setProtectedHeader({ alg: 'RS256', kid: 'one', ...header })
  assert.equal((await ask(await made().sign(provider.key))).body.operator, true)

  const { privateKey: other, publicKey } = await generateKeyPair('RS256', { extractable: true })
  const parts = (await made().sign(provider.key)).split('.')
  const none64 = Buffer.from('{"alg":"none"}').toString('base64url')
  const wrong: Record<string, string> = {
    'another key': await made().sign(other),
    'an unknown key': await made({}, { kid: 'two' }).sign(other),
    'the public key as a password': await made({}, { alg: 'HS256' }).sign(Buffer.from(await exportSPKI(publicKey))),
    'no signature': `${none64}.${parts[1]}.`,
    'a cut signature': `${parts[0]}.${parts[1]}.${parts[2].slice(1)}`,
    'other claims': `${parts[0]}.${Buffer.from('{"sub":"x"}').toString('base64url')}.${parts[2]}`,
    'another issuer': await made({ iss: 'https://example.org' }).sign(provider.key),
    'another audience': await made({ aud: 'other' }).sign(provider.key),
    'a party of its own': await made({ aud: [CLIENT, 'other'], azp: 'other' }).sign(provider.key),
    over: await made({ exp: Date.now() / 1000 - 120 }).sign(provider.key),
    'without end': await made({ exp: undefined }).sign(provider.key),
    'not yet': await made({ nbf: Date.now() / 1000 + 600 }).sign(provider.key),
    'an address that nobody verified': await made({ email_verified: false }).sign(provider.key),
    'no name': await made({ email: undefined }).sign(provider.key),
    'a name of other characters': await made({ email: 'a b' }).sign(provider.key),
    'a group of a tenant that is not': await made({ groups: ['gone'], email: 'x@example.com' }).sign(provider.key),
    'no token': 'eyJ.x.y',
  }
  for (const [what, token] of Object.entries(wrong)) {
    const { status, body } = await ask(token)
    const { requestId: _, ...told } = (body.error ?? body) as Record<string, unknown>
    assert.equal(status, 401, what)
    assert.deepEqual(told, expected, what)
  }
})

test('without the provider those who are known go on, and others are told to come again', async () => {
  const gone = await startProvider(() => ['ops'])
  const store = app.house.store
  const access = await Access.open(store, true, readOidc(oidcOf(gone.issuer)))
  const known = { authorization: `Bearer ${await gone.signIn('a@example.com')}` }
  await access.verify(known)
  await gone.close()
  assert.equal(access.verify(known), undefined)
  assert.equal(access.identify(known)?.role, 'admin')
  const late = await Access.open(store, true, readOidc(oidcOf(gone.issuer)))
  await assert.rejects(late.verify(known)!, { code: 'LOGIN_UNAVAILABLE', status: 503 })
  await access.close()
  await late.close()
})

test('settings that cannot be meant are refused at the start', () => {
  for (const wrong of [
    { ATHANOR_OIDC_ISSUER: 'http://example.org' },
    { ATHANOR_OIDC_ISSUER: 'no address' },
    { ATHANOR_OIDC_AUDIENCE: '' },
    { ATHANOR_OIDC_ROLES: 'ml' },
    { ATHANOR_OIDC_ROLES: 'ml=acme:king' },
  ])
    assert.throws(() => readOidc({ ...oidcOf('https://example.org'), ...wrong }), { code: 'OPTION_INVALID' })
  assert.equal(readOidc({}), undefined)
})
