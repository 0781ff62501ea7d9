import { Agent, type Dispatcher } from 'undici'
import type { Egress } from '../../base/egress.ts'
import { AthanorError, fail } from '../../base/errors.ts'
import { traceHeaders } from '../../base/trace.ts'
import type { Remote } from '../../bundle/manifest.ts'
import { Breaker } from './breaker.ts'

type Reply = Dispatcher.ResponseData
type Headers = Record<string, string>

/** Largest reply that is read at once, in bytes. */
const REPLY_LIMIT = 64 << 20
/** Milliseconds: the first pause before a call is sent again, the longest, and that of a server that names one. */
const PAUSE = 100
const LONGEST_PAUSE = 2_000
const LONGEST_WAIT = 10_000
const CONNECT_LIMIT = 5_000

interface Call {
  method?: 'GET' | 'POST'
  path: string
  headers?: Headers
  body?: string | Uint8Array
  signal: AbortSignal
}

/**
 * Calls to the server that runs a version. What fails before the first byte of an answer is sent again after a pause that
 * is drawn at random up to a doubling limit; a server that keeps failing is left alone for a while.
 */
export class Upstream {
  readonly #remote: Remote
  readonly #name: string
  readonly #egress: Egress
  readonly #key: string | undefined
  readonly #base: string
  readonly #agent: Agent
  readonly #breaker = new Breaker()

  /** `name` is that of our model, for messages. Throws HOST_FORBIDDEN. */
  constructor(name: string, remote: Remote, egress: Egress, key?: string) {
    this.#name = name
    this.#remote = remote
    this.#egress = egress
    this.#key = key
    const url = egress.check(remote.url)
    this.#base = url.pathname.replace(/\/+$/, '')
    this.#agent = new Agent({
      connect: { lookup: egress.lookup, timeout: CONNECT_LIMIT },
      connections: 256,
      headersTimeout: 0, // every call has a deadline of its own
      bodyTimeout: 0,
      keepAliveTimeout: 10_000,
    })
  }

  get failing(): boolean {
    return this.#breaker.open
  }

  /**
   * The reply of a call, its status 2xx. Throws UPSTREAM_UNREACHABLE, UPSTREAM_BUSY, UPSTREAM_FAILED, UPSTREAM_REFUSED or
   * HOST_FORBIDDEN; what the signal fires with is thrown as it is.
   */
  async send(call: Call): Promise<Reply> {
    const { retries = 2 } = this.#remote
    for (let attempt = 0; ; attempt++) {
      if (!this.#breaker.enter())
        throw this.unreachable('it failed several times in a row and is left alone for a while')
      const { reply, error, wait = 0 } = await this.#try(call)
      if (reply) return reply
      if (attempt >= retries || wait > LONGEST_WAIT || !isPassing(error!)) throw error
      const drawn = Math.random() * Math.min(LONGEST_PAUSE, PAUSE * 2 ** attempt)
      await pause(Math.max(drawn, wait), call.signal)
    }
  }

  async #try({ method = 'POST', path, headers, body, signal }: Call): Promise<{
    reply?: Reply
    error?: AthanorError
    /** Milliseconds that the server asks to be left alone for. */
    wait?: number
  }> {
    let reply: Reply
    try {
      signal.throwIfAborted()
      reply = await this.#agent.request({
        origin: this.#egress.check(this.#remote.url).origin,
        path: this.#base + path,
        method,
        signal,
        headers: {
          accept: 'application/json, text/event-stream',
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(this.#key !== undefined && { authorization: `Bearer ${this.#key}` }),
          ...traceHeaders(),
          ...headers,
        },
        ...(body !== undefined && { body }),
      })
    } catch (thrown) {
      if (signal.aborted) {
        // a server that keeps callers waiting beyond their deadline fails; one whose callers leave may not
        this.#breaker.leave(signal.reason instanceof AthanorError ? 'failed' : 'unknown')
        throw signal.reason
      }
      this.#breaker.leave('failed')
      const cause = thrown as Error & { code?: string }
      if (cause instanceof AthanorError) throw cause
      return { error: this.unreachable(reasons[cause.code ?? ''] ?? 'the connection broke') }
    }
    reply.body.on('error', () => undefined) // told to whoever reads; to be cut off unread is no error
    const { statusCode: status } = reply
    if (status >= 200 && status < 300) {
      this.#breaker.leave('answered')
      return { reply }
    }
    this.#breaker.leave(status >= 500 ? 'failed' : 'answered')
    const after = Number(reply.headers['retry-after'])
    const error = await this.#refusal(reply)
    return { error, ...(after > 0 && { wait: after * 1000 }) }
  }

  /** All of a reply; throws UPSTREAM_FAILED when it is too long or breaks off. */
  async read({ body }: Reply, signal: AbortSignal): Promise<Buffer> {
    const pieces: Buffer[] = []
    let size = 0
    try {
      for await (const piece of body as AsyncIterable<Buffer>) {
        size += piece.byteLength
        if (size > REPLY_LIMIT) throw this.failed(`its reply is longer than ${REPLY_LIMIT} bytes`)
        pieces.push(piece)
      }
    } catch (thrown) {
      throw this.broken(thrown, signal)
    }
    return Buffer.concat(pieces, size)
  }

  async json(call: Call): Promise<object> {
    return this.parse((await this.read(await this.send(call), call.signal)).toString('utf8'))
  }

  /** Throws UPSTREAM_FAILED for what is no JSON object. */
  parse(text: string): object {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      // refused below
    }
    if (typeof value === 'object' && value !== null) return value
    throw this.failed('its reply is no JSON object')
  }

  /** What an error on the way means: the caller's own reason, one of ours, or a connection that broke. */
  broken(thrown: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) return signal.reason
    if (thrown instanceof AthanorError) return thrown
    this.#breaker.enter()
    this.#breaker.leave('failed')
    return this.failed(thrown instanceof RangeError ? thrown.message : 'the connection broke before the end')
  }

  failed = (reason: string) => fail('UPSTREAM_FAILED', { name: this.#name, reason })
  unreachable = (reason: string) => fail('UPSTREAM_UNREACHABLE', { name: this.#name, reason })

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  /** A status that is no success as one of our errors. What the other server says is passed on only of a caller's mistake. */
  async #refusal({ statusCode: status, body }: Reply): Promise<AthanorError> {
    const name = this.#name
    const said = status < 500 ? await excerpt(body) : ''
    body.destroy()
    if (status === 429) return fail('UPSTREAM_BUSY', { name })
    if (status === 503) return this.unreachable('it takes no requests now')
    if (status === 401 || status === 403) return this.failed(`it does not accept our key (status ${status})`)
    if (status === 404) return this.failed(`it has no model "${this.#remote.model}" (status 404)`)
    if (status >= 400 && status < 500) return fail('UPSTREAM_REFUSED', { name, reason: said || `status ${status}` })
    return this.failed(`status ${status}`)
  }
}

const isPassing = ({ code }: AthanorError) => code === 'UPSTREAM_UNREACHABLE' || code === 'UPSTREAM_BUSY'

const reasons: Record<string, string> = {
  ECONNREFUSED: 'the connection was refused',
  ENOTFOUND: 'its host is unknown',
  EAI_AGAIN: 'its host cannot be looked up now',
  UND_ERR_CONNECT_TIMEOUT: 'it took too long to connect',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted',
}

/** The message of an error's body, one line without what looks like a path; empty if it has none. */
async function excerpt(body: Reply['body']): Promise<string> {
  try {
    let text = ''
    for await (const piece of body as AsyncIterable<Buffer>) {
      text += piece.toString('utf8')
      if (text.length > 16_384) return ''
    }
    const { error, message, detail } = JSON.parse(text) as Record<string, unknown>
    const said = [(error as { message?: unknown } | undefined)?.message, error, message, detail]
    const [first] = said.filter((one) => typeof one === 'string')
    return String(first ?? '')
      .split('\n')[0]
      .replace(/(?<!\w)\/\S+/g, '…')
      .slice(0, 300)
  } catch {
    return ''
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal.addEventListener('abort', abort, { once: true })
  })
}
