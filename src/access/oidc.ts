import { createHash } from 'node:crypto'
import type { JWTPayload, JWTVerifyGetKey } from 'jose'
import { fail } from '../base/errors.ts'
import type { Keys } from './keys.ts'
import { DEFAULT_TENANT, type Principal, type Role, roles } from './roles.ts'

/** Who signs people in, and what of their tokens says who they are and what they may. */
export interface OidcSettings {
  issuer: string
  /** The client ids (or API names) that tokens are made for. */
  audiences: readonly string[]
  /** The claim that names a person. */
  userClaim: string
  /** The claim with groups or roles, and what each of them gives; the first that a person has decides. */
  roleClaim: string
  grants: readonly Grant[]
}

interface Grant {
  value: string
  tenant: string
  role: Role
}

const invalid = (variable: string, reason: string) => fail('OPTION_INVALID', { option: variable, reason })
const loopback = /^(127\.0\.0\.1|localhost|\[::1\])$/

/** An address that tokens or keys may come from: by TLS, or of this machine. */
function secured(address: string, variable: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback.test(url.hostname))) return url
  throw invalid(variable, `expected an https address, got "${address.slice(0, 100)}"`)
}

/**
 * The settings from `ATHANOR_OIDC_ISSUER`, `_AUDIENCE`, `_USER_CLAIM`, `_ROLE_CLAIM` and `_ROLES`
 * (`group=tenant:role,…`); undefined without an issuer. Throws OPTION_INVALID.
 */
export function readOidc(variables: Readonly<Record<string, string>>): OidcSettings | undefined {
  const { ATHANOR_OIDC_ISSUER: issuer, ATHANOR_OIDC_AUDIENCE: audience = '' } = variables
  if (!issuer) return undefined
  secured(issuer, 'ATHANOR_OIDC_ISSUER')
  const audiences = audience.split(',').filter(Boolean)
  if (audiences.length === 0) throw invalid('ATHANOR_OIDC_AUDIENCE', 'name the client id that tokens are made for')
  const grants = (variables.ATHANOR_OIDC_ROLES ?? '').split(',').filter(Boolean)
  return {
    issuer,
    audiences,
    userClaim: variables.ATHANOR_OIDC_USER_CLAIM || 'email',
    roleClaim: variables.ATHANOR_OIDC_ROLE_CLAIM || 'groups',
    grants: grants.map((text) => {
      const [, value, tenant, role] = /^\s*(.+)=([a-z0-9._-]{1,128}):(\w+)\s*$/.exec(text) ?? []
      if (!value || !(roles as readonly string[]).includes(role))
        throw invalid('ATHANOR_OIDC_ROLES', `expected group=tenant:role with a role of ${roles.join(', ')}`)
      return { value, tenant, role: role as Role }
    }),
  }
}

/** What a token that was verified says. */
interface Verified {
  user: string
  values: ReadonlySet<string>
  until: number
  principal: Principal | undefined
}

const digestOf = (token: string) => createHash('sha256').update(token).digest('base64')

/** Tokens that were verified and are remembered until they end, the newest of them. */
const REMEMBERED = 10_000
const DEADLINE = 5_000
const TOLERANCE = 30
/** Signatures by key pairs only: nothing that the public key could make. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

/**
 * People who sign in elsewhere: verifies tokens of an OpenID Connect provider (OpenID Connect Core 1.0, section 3.1.3.7) by the
 * keys that it publishes. What it publishes is fetched when the first token comes.
 */
export class Oidc {
  readonly settings: OidcSettings
  readonly #keys: Pick<Keys, 'memberships' | 'isOpen'>
  readonly #jose: typeof import('jose')
  readonly #verified = new Map<string, Verified>()
  #published: Promise<JWTVerifyGetKey> | undefined

  private constructor(settings: OidcSettings, keys: Pick<Keys, 'memberships' | 'isOpen'>, jose: typeof import('jose')) {
    this.settings = settings
    this.#keys = keys
    this.#jose = jose
  }

  /** Throws OPTION_INVALID where `jose` is not installed. */
  static async open(settings: OidcSettings, keys: Pick<Keys, 'memberships' | 'isOpen'>): Promise<Oidc> {
    const jose = await import('jose').catch((error: unknown) => {
      throw fail(
        'OPTION_INVALID',
        { option: 'ATHANOR_OIDC_ISSUER', reason: 'it needs the package "jose": npm install jose' },
        { cause: error },
      )
    })
    return new Oidc(settings, keys, jose)
  }

  /** Whether a token has the shape of one that is verified here. */
  static isToken = (token: string) => token.startsWith('eyJ') && token.split('.').length === 3

  /** Who a token is of that was verified before. */
  known(token: string): Principal | undefined {
    const verified = this.#verified.get(digestOf(token))
    return verified && this.#principalOf(verified)
  }

  /**
   * Verifies a token, after which it is known if it is right; undefined where it is known already. Throws LOGIN_UNAVAILABLE
   * where the provider does not answer.
   */
  verify(token: string): Promise<void> | undefined {
    const digest = digestOf(token)
    return this.#verified.has(digest) ? undefined : this.#remember(token, digest)
  }

  async #remember(token: string, digest: string) {
    const verified = await this.#verifiedOf(token)
    if (verified) this.#verified.set(digest, verified)
    if (this.#verified.size > REMEMBERED) this.#verified.delete(this.#verified.keys().next().value!)
  }

  async #verifiedOf(token: string): Promise<Verified | undefined> {
    const { issuer, audiences, userClaim, roleClaim } = this.settings
    const payload = await this.#payloadOf(token, issuer, audiences)
    if (!payload) return undefined
    const { azp, aud, [userClaim]: user, [roleClaim]: given, exp } = payload
    const stranger = Array.isArray(aud) && aud.length > 1 && !audiences.includes(String(azp))
    if (stranger || typeof user !== 'string' || !/^[\w.@+-]{1,128}$/.test(user)) return undefined
    if (userClaim === 'email' && payload.email_verified === false) return undefined
    const values = (Array.isArray(given) ? given : [given]).filter((value) => typeof value === 'string')
    return { user, values: new Set(values), until: exp! * 1000 + TOLERANCE * 1000, principal: undefined }
  }

  /** The claims of a token that is right; undefined for any other. */
  async #payloadOf(token: string, issuer: string, audiences: readonly string[]): Promise<JWTPayload | undefined> {
    const { errors, jwtVerify } = this.#jose
    try {
      this.#published ??= this.#discover()
      const { payload } = await jwtVerify(token, await this.#published, {
        issuer,
        audience: [...audiences],
        algorithms: ALGORITHMS,
        requiredClaims: ['exp', 'sub'],
        clockTolerance: TOLERANCE,
      })
      return payload
    } catch (error) {
      const mistaken =
        error instanceof errors.JOSEError && !['ERR_JOSE_GENERIC', 'ERR_JWKS_TIMEOUT'].includes(error.code)
      if (mistaken) return undefined
      throw fail('LOGIN_UNAVAILABLE', { issuer: new URL(issuer).host }, { cause: error })
    }
  }

  /** The provider's keys, as its description names them; asked anew after a failure. */
  async #discover(): Promise<JWTVerifyGetKey> {
    const { issuer } = this.settings
    try {
      const address = `${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`
      const response = await fetch(address, { redirect: 'error', signal: AbortSignal.timeout(DEADLINE) })
      const told = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown }
      if (told.issuer !== issuer) throw new Error(`its description is of the issuer "${told.issuer}"`)
      const url = secured(String(told.jwks_uri), 'ATHANOR_OIDC_ISSUER')
      return this.#jose.createRemoteJWKSet(url, { timeoutDuration: DEADLINE })
    } catch (error) {
      this.#published = undefined
      throw error
    }
  }

  /** By a group that a token names, or as one of the users of a tenant; a disabled user or closed tenant is nobody. */
  #principalOf(verified: Verified): Principal | undefined {
    const { user, values, until } = verified
    if (Date.now() >= until) return undefined
    const memberships = this.#keys.memberships(user)
    const grant = this.settings.grants.find(({ value }) => values.has(value))
    const place = grant ?? memberships.find(({ disabledAt, tenant }) => !disabledAt && this.#keys.isOpen(tenant))
    if (!place || !this.#keys.isOpen(place.tenant)) return undefined
    const { tenant, role } = place
    if (memberships.some((one) => one.tenant === tenant && one.disabledAt !== undefined)) return undefined
    const before = verified.principal
    // the same object while nothing changed: what hangs on it stays
    if (before?.tenant === tenant && before.role === role) return before
    const operator = tenant === DEFAULT_TENANT && role === 'admin'
    verified.principal = { id: `user:${user}`, actor: user, tenant, role, operator }
    return verified.principal
  }
}
