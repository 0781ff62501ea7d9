import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Check } from 'typebox/value'
import { Agent, type Dispatcher, request } from 'undici'
import { checkAddress, checkedLookup } from '../base/addresses.ts'
import { isInside } from '../base/egress.ts'
import { AthanorError, fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'

/** A model on the Hugging Face hub: `hf:OWNER/NAME`, optionally `@revision` and `#path` of a file or folder in it. */
export interface HubSpec {
  readonly name: string
  readonly revision: string
  readonly path?: string
}

/** A file at one commit: its bytes, and the sha256 of its content where it is in large-file storage, else git's own digest. */
export interface HubFile {
  readonly path: string
  readonly bytes: number
  readonly sha256?: string
  readonly blob?: string
}

/** A repository at one commit. */
export interface Repository {
  readonly name: string
  readonly commit: string
  readonly files: readonly HubFile[]
}

const SPEC = /^hf:((?:\w[\w.-]*\/)?\w[\w.-]*)(?:@(\w[\w./-]*))?(?:#(.+))?$/
const LISTING_LIMIT = 32 << 20
const HOPS = 5
const ATTEMPTS = 5
/** Seconds: the first pause before another attempt, and the longest that a server may ask for. */
const PAUSE = 0.5
const LONGEST_PAUSE = 30

/** Throws OPTION_INVALID for what names no repository. */
export function parseHubSpec(source: string): HubSpec {
  const match = SPEC.exec(source)
  if (!match || source.includes('..'))
    throw fail('OPTION_INVALID', {
      option: 'path',
      reason: `expected hf:OWNER/NAME[@revision][#path], got "${source.slice(0, 120)}"`,
    })
  const [, name, revision = 'main', path] = match
  return { name, revision, ...(path && { path }) }
}

/** What is read of the answer to `/api/models/NAME/revision/REVISION?blobs=true`. */
const Listing = Type.Object({
  id: Type.Optional(Type.String({ maxLength: 200 })),
  sha: Type.String({ pattern: '^[0-9a-f]{40}$' }),
  siblings: Type.Array(
    Type.Object({
      rfilename: Type.String({ minLength: 1, maxLength: 1000 }),
      size: Type.Optional(Type.Integer({ minimum: 0 })),
      blobId: Type.Optional(Type.String({ pattern: '^[0-9a-f]{40}$' })),
      lfs: Type.Optional(
        Type.Union([
          Type.Object({ sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }), size: Type.Integer({ minimum: 0 }) }),
          Type.Null(),
        ]),
      ),
    }),
    { maxItems: 100_000 },
  ),
})

type Reply = Dispatcher.ResponseData

/**
 * Reads models from the Hugging Face hub, or a mirror of it, by the routes of its own clients. Its address is
 * `ATHANOR_HF_ENDPOINT` or `HF_ENDPOINT`, the token `HF_TOKEN` or what `hf auth login` left; the token goes to that address
 * alone. Redirects are followed over https and never to addresses inside, unless the hub's own address is inside.
 */
export class Hub {
  readonly #endpoint: URL
  readonly #inside: boolean
  readonly #token: string | undefined
  readonly #agent: Agent

  private constructor(endpoint: URL, inside: boolean, token: string | undefined) {
    this.#endpoint = endpoint
    this.#inside = inside
    this.#token = token
    const connect = inside ? {} : { lookup: checkedLookup([]) }
    this.#agent = new Agent({ connect: { ...connect, timeout: 10_000 }, headersTimeout: 30_000, bodyTimeout: 60_000 })
  }

  /** Throws OPTION_INVALID for an address that is neither https nor inside, ADDRESS_REFUSED for one that is unknown. */
  static async open(env: NodeJS.ProcessEnv = process.env): Promise<Hub> {
    const address = (env.ATHANOR_HF_ENDPOINT ?? env.HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, '')
    const url = URL.canParse(address) ? new URL(address) : undefined
    if (!url || !/^https?:$/.test(url.protocol) || url.username)
      throw fail('OPTION_INVALID', { option: 'HF_ENDPOINT', reason: `"${address.slice(0, 120)}" is no https address` })
    const inside = await isWithin(url)
    if (url.protocol === 'http:' && !inside)
      throw fail('OPTION_INVALID', {
        option: 'HF_ENDPOINT',
        reason: 'a hub outside this network is reached over https',
      })
    return new Hub(url, inside, await tokenOf(env))
  }

  /** The files of a repository at the commit that its revision stands for now. Throws HUB_LACKS or HUB_FAILED. */
  async list({ name, revision }: HubSpec): Promise<Repository> {
    const what = `model ${name} at ${revision}`
    const { body } = await this.#ask(`api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`, what)
    let listing: unknown
    try {
      listing = JSON.parse((await collected(body, LISTING_LIMIT)).toString('utf8'))
    } catch (error) {
      throw this.#failed(`the list of files of ${name} cannot be read`, error)
    }
    if (!Check(Listing, listing)) throw this.#failed(`the list of files of ${name} is not as expected`)
    const { id = name, sha: commit, siblings } = listing
    const files = siblings.map(({ rfilename, size, blobId, lfs }): HubFile => {
      const bytes = lfs?.size ?? size
      if (bytes === undefined) throw this.#failed(`it does not say how large ${rfilename.slice(0, 100)} is`)
      return { path: rfilename, bytes, ...(lfs ? { sha256: lfs.sha256 } : blobId && { blob: blobId }) }
    })
    return { name: id, commit, files }
  }

  /** The bytes of a file from `offset` on; a connection that breaks is made again where it broke. Throws HUB_LACKS or HUB_FAILED. */
  async *read({ name, commit }: Repository, { path, bytes }: HubFile, offset = 0): AsyncGenerator<Buffer> {
    const route = `${name}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`
    let at = offset
    for (let attempt = 1; at < bytes; attempt++) {
      const before = at
      try {
        const range: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {}
        const { statusCode, body } = await this.#ask(route, `file ${path}`, { 'accept-encoding': 'identity', ...range })
        let skip = statusCode === 206 ? 0 : at // a mirror that knows no ranges sends all of it
        for await (const piece of body as AsyncIterable<Buffer>) {
          const rest = piece.subarray(Math.min(skip, piece.byteLength))
          skip -= piece.byteLength - rest.byteLength
          at += rest.byteLength
          if (at > bytes) throw this.#failed(`${path} is longer than it says`)
          if (rest.byteLength > 0) yield rest
        }
      } catch (error) {
        if (error instanceof AthanorError) throw error
        if (at > before) attempt = 0 // it moves on
        if (attempt >= ATTEMPTS) throw this.#failed(`the connection broke in ${path}`, error)
        await pause(PAUSE * 1000)
      }
    }
  }

  /** A file that is small, whole and as its digest says. Throws HUB_LACKS or HUB_FAILED. */
  async readWhole(repository: Repository, file: HubFile): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Buffer[] = []
    for await (const piece of this.read(repository, file)) pieces.push(piece)
    const content = new Uint8Array(Buffer.concat(pieces))
    const blob = createHash('sha1').update(`blob ${content.byteLength}\0`).update(content).digest('hex')
    if (file.blob !== undefined && blob !== file.blob) throw this.#failed(`${file.path} is not what its commit holds`)
    return content
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  /** An answer of status 200 or 206; asks again after failures that pass. */
  async #ask(route: string, what: string, headers: Record<string, string> = {}): Promise<Reply> {
    for (let attempt = 1; ; attempt++) {
      let told: AthanorError
      let wait = PAUSE * 2 ** attempt
      try {
        const reply = await this.#follow(new URL(`${this.#endpoint.href.replace(/\/$/, '')}/${route}`), headers)
        const { statusCode: status } = reply
        if (status === 200 || status === 206) return reply
        await reply.body.dump()
        const hub = this.#endpoint.host
        if ([401, 403, 404, 416].includes(status)) throw fail('HUB_LACKS', { hub, what })
        told = this.#failed(`status ${status} for the ${what}`)
        if (status !== 429 && status < 500) throw told
        wait = Number(reply.headers['retry-after']) || wait
      } catch (error) {
        if (error instanceof AthanorError) throw error
        told = this.#failed(
          `it cannot be reached (${(error as { code?: string }).code ?? 'the connection broke'})`,
          error,
        )
      }
      if (attempt >= ATTEMPTS || wait > LONGEST_PAUSE) throw told
      await pause(wait * 1000)
    }
  }

  async #follow(url: URL, headers: Record<string, string>): Promise<Reply> {
    let at = url
    for (let hop = 0; hop <= HOPS; hop++) {
      const own = at.origin === this.#endpoint.origin
      if (!own) await this.permit(at)
      const authorization = own && this.#token !== undefined ? { authorization: `Bearer ${this.#token}` } : {}
      const reply = await request(at, {
        dispatcher: this.#agent,
        headers: { 'user-agent': 'athanor', ...headers, ...authorization },
      })
      if (![301, 302, 303, 307, 308].includes(reply.statusCode)) return reply
      await reply.body.dump()
      const to = String(reply.headers.location)
      if (!URL.canParse(to, at)) throw this.#failed('it leads nowhere')
      at = new URL(to, at)
    }
    throw this.#failed(`it leads on more than ${HOPS} times`)
  }

  /** Throws ADDRESS_REFUSED for an address that the hub may not lead to. */
  async permit(to: URL): Promise<void> {
    if (this.#inside) return
    if (to.protocol !== 'https:')
      throw fail('ADDRESS_REFUSED', { host: to.host, reason: 'the hub leads there without https' })
    await checkAddress(to.href, [])
  }

  #failed(reason: string, cause?: unknown) {
    return fail('HUB_FAILED', { hub: this.#endpoint.host, reason }, cause === undefined ? {} : { cause })
  }
}

/** Whether an address is of this machine or its network. */
async function isWithin(url: URL): Promise<boolean> {
  const { lookup } = await import('node:dns/promises')
  const found = await lookup(url.hostname.replace(/^\[|\]$/g, ''), { all: true }).catch(() => [])
  if (found.length === 0) throw fail('ADDRESS_REFUSED', { host: url.host, reason: 'its name does not resolve' })
  return found.some(({ address }) => isInside(address))
}

/** As the hub's own clients find it: HF_TOKEN, else the file that signing in leaves. */
async function tokenOf(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const home = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface')
  const token = env.HF_TOKEN ?? (await readFile(env.HF_TOKEN_PATH ?? join(home, 'token'), 'utf8').catch(() => ''))
  return token.trim() || undefined
}

async function collected(body: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of body) {
    size += piece.byteLength
    if (size > limit) throw new RangeError('too long')
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
