import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, type GenerateKeyPairResult, generateKeyPair } from 'jose'

const REDIRECT = 'http://127.0.0.1:9/callback'
const SCOPE = 'openid email groups'
export const CLIENT = 'athanor'

/** An OpenID Connect provider (oidc-provider) on this machine that lets in whoever gives a name. */
export interface TestProvider {
  readonly issuer: string
  /** The key that it signs with. */
  readonly key: GenerateKeyPairResult['privateKey']
  /** Signs a person in by the code flow with PKCE, as a browser would; gives the ID token. */
  signIn(person: string): Promise<string>
  close(): Promise<void>
}

export async function startProvider(groupsOf: (person: string) => readonly string[]): Promise<TestProvider> {
  const { default: Provider } = await import('oidc-provider')
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const signing = { ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }
  let person = ''
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT,
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        response_types: ['code'],
        redirect_uris: [REDIRECT],
      },
    ],
    jwks: { keys: [signing] },
    cookies: { keys: ['of a test'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false } },
    interactions: { url: () => '/sign-in' },
    findAccount: (_: unknown, accountId: string) => ({
      accountId,
      claims: () => ({ sub: accountId, email: accountId, email_verified: true, groups: groupsOf(accountId) }),
    }),
    async loadExistingGrant({
      oidc: { client, session },
    }: {
      oidc: { client: { clientId: string }; session: { accountId: string } }
    }) {
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
      grant.addOIDCScope(SCOPE)
      await grant.save()
      return grant
    },
  })
  const answer = provider.callback()
  server.on('request', (request, response) => {
    if (request.url === '/sign-in')
      return void provider.interactionFinished(request, response, { login: { accountId: person } })
    void answer(request, response)
  })
  return {
    issuer,
    key: privateKey,
    async signIn(who) {
      person = who
      const verifier = randomBytes(32).toString('base64url')
      const challenge = createHash('sha256').update(verifier).digest('base64url')
      const query = { client_id: CLIENT, response_type: 'code', redirect_uri: REDIRECT, scope: SCOPE }
      const first = new URLSearchParams({ ...query, code_challenge: challenge, code_challenge_method: 'S256' })
      const code = await follow(`${issuer}/auth?${first}`)
      const body = new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: CLIENT,
        redirect_uri: REDIRECT,
        code,
        code_verifier: verifier,
      })
      const answered = (await (await fetch(`${issuer}/token`, { method: 'POST', body })).json()) as {
        id_token?: string
      }
      if (!answered.id_token) throw new Error(JSON.stringify(answered))
      return answered.id_token
    },
    close: () => new Promise((resolve) => server.close(() => resolve()).closeAllConnections()),
  }
}

/** Goes where answers lead, with the cookies they set, until it is back with a code. */
async function follow(start: string): Promise<string> {
  const cookies = new Map<string, string>()
  let address = start
  for (let step = 0; step < 10; step++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(address, { redirect: 'manual', headers: { cookie } })
    for (const one of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(one)!
      if (value) cookies.set(name, value)
      else cookies.delete(name)
    }
    const location = response.headers.get('location')
    if (!location) throw new Error(`${response.status} ${await response.text()}`)
    address = new URL(location, address).href
    const code = address.startsWith(REDIRECT) ? new URL(address).searchParams.get('code') : undefined
    if (code) return code
  }
  throw new Error(`it does not end: ${address}`)
}
