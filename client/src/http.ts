import { AthanorError, errorFrom, unreachable } from './error.ts'

export interface ClientOptions {
  /** Where the server is; `http://127.0.0.1:7700` by default. */
  url?: string
  /** Sent as a bearer token, for servers that ask for one. */
  key?: string
  /** The tenant to act for, as an operator of the server; the key's own otherwise. */
  tenant?: string
  /** Milliseconds a request may take; uploads and event streams are not limited. */
  timeout?: number
  /** How often a request that is safe to repeat is sent again when the server is busy or unreachable. */
  retries?: number
  /** Sends requests in the place of the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>
}

export interface Call {
  method?: string
  query?: Record<string, string | number | undefined>
  json?: unknown
  body?: BodyInit
  signal?: AbortSignal
  timeout?: number
  headers?: Record<string, string>
  /** It may be sent again though it is no GET: it changes nothing. */
  again?: boolean
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Where a model is found: name, name@version or name@alias. */
export const modelPath = (model: string) => `/api/models/${encodeURIComponent(model)}`

/** Sends requests to a server: with its key, a time limit, and once more where that is safe. Throws AthanorError. */
export class Http {
  readonly url: string
  readonly #key: string | undefined
  readonly #tenant: string | undefined
  readonly #timeout: number
  readonly #retries: number
  readonly #fetch: NonNullable<ClientOptions['fetch']>

  constructor({
    url = 'http://127.0.0.1:7700',
    key,
    tenant,
    timeout = 60_000,
    retries = 2,
    fetch = (to, init) => globalThis.fetch(to, init),
  }: ClientOptions) {
    this.#fetch = fetch
    this.url = url.replace(/\/+$/, '')
    this.#key = key
    this.#tenant = tenant
    this.#timeout = timeout
    this.#retries = retries
  }

  async json<T>(path: string, call: Call = {}): Promise<T> {
    const response = await this.send(path, call)
    return (response.status === 204 ? undefined : await response.json()) as T
  }

  async send(path: string, call: Call): Promise<Response> {
    const { method = 'GET', query = {}, json, body, signal, timeout = this.#timeout, headers = {} } = call
    const given = Object.entries(query).filter(([, value]) => value !== undefined)
    const search = given.length > 0 ? `?${new URLSearchParams(given.map(([key, value]) => [key, String(value)]))}` : ''
    const limits = [...(signal ? [signal] : []), ...(timeout > 0 ? [AbortSignal.timeout(timeout)] : [])]
    const init: RequestInit & { duplex?: 'half' } = {
      method,
      headers: {
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...(this.#key && { authorization: `Bearer ${this.#key}` }),
        ...(this.#tenant && { 'x-athanor-tenant': this.#tenant }),
        ...headers,
      },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      ...(body !== undefined && { body, duplex: 'half' as const }),
      ...(limits.length > 0 && { signal: AbortSignal.any(limits) }),
    }
    // an upload cannot be read twice, and starting a run twice would be wrong
    const repeatable = body === undefined && (method === 'GET' || call.again === true)
    for (let attempt = 0; ; attempt++) {
      const again = repeatable && attempt < this.#retries && !signal?.aborted
      let response: Response
      try {
        response = await this.#fetch(this.url + path + search, init)
      } catch (error) {
        if (signal?.aborted) throw error
        if ((error as Error).name === 'TimeoutError') {
          throw new AthanorError(
            {
              code: 'DEADLINE_EXCEEDED',
              status: 504,
              message: `no answer within ${timeout} ms`,
              hint: 'Try again, or raise the timeout.',
            },
            { cause: error },
          )
        }
        if (!again) throw unreachable(this.url, error)
        await pause(100 * 2 ** attempt)
        continue
      }
      if (response.ok) return response
      if (again && (response.status === 429 || response.status === 503)) {
        await response.body?.cancel()
        await pause(Number(response.headers.get('retry-after') ?? 1) * 1000)
        continue
      }
      throw await errorFrom(response)
    }
  }
}
