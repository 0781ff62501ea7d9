import { openAsBlob } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { AwsClient } from 'aws4fetch'
import { AthanorError, fail } from '../base/errors.ts'
import type { Blobs, DiskBlobs, StoredBlob, Swept } from './blobs.ts'

/** Milliseconds that a stored object is left alone though nothing refers to it: another process may be about to. */
const GRACE = 3_600_000
const DEADLINE = 600_000
const RETRIES = 3

const unavailable = (cause: unknown) => fail('STORAGE_UNAVAILABLE', { what: 'the object store' }, { cause })

/**
 * Blobs in an S3-compatible bucket, at `s3://bucket/prefix?endpoint=…&region=…` (addressed by path, signed with the AWS_*
 * variables); a folder on this machine holds those that are used. Throws OPTION_INVALID where `aws4fetch` is not installed
 * or the address or keys are missing.
 */
export async function openS3(address: string, cache: DiskBlobs, env = process.env): Promise<Blobs> {
  const invalid = (reason: string, cause?: unknown) => fail('OPTION_INVALID', { option: 'blobs', reason }, { cause })
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url?.protocol !== 's3:' || !url.hostname) throw invalid('expected s3://bucket/prefix?endpoint=https://…')
  const { AwsClient } = await import('aws4fetch').catch((error: unknown) => {
    throw invalid('an object store needs the package "aws4fetch": npm install aws4fetch', error)
  })
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN } = env
  if (!accessKeyId || !secretAccessKey) throw invalid('AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set')
  const region = url.searchParams.get('region') ?? env.AWS_REGION ?? 'us-east-1'
  const endpoint = url.searchParams.get('endpoint') ?? `https://s3.${region}.amazonaws.com`
  if (!URL.canParse(endpoint)) throw invalid('its endpoint is not an address')
  const client = new AwsClient({
    accessKeyId,
    secretAccessKey,
    ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }),
    service: 's3',
    region,
    retries: RETRIES,
  })
  const prefix = url.pathname.replace(/^\/+|\/+$/g, '')
  return new S3Blobs(client, `${endpoint.replace(/\/+$/, '')}/${url.hostname}`, prefix ? `${prefix}/` : '', cache)
}

class S3Blobs implements Blobs {
  readonly #client: AwsClient
  readonly #bucket: string
  readonly #prefix: string
  readonly #cache: DiskBlobs
  readonly #fetching = new Map<string, Promise<string>>()

  constructor(client: AwsClient, bucket: string, prefix: string, cache: DiskBlobs) {
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
    this.#cache = cache
  }

  /** Stored here first, then there; the store compares what it got with the digest. */
  async put(content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, limit?: number): Promise<StoredBlob> {
    const stored = await this.#cache.put(content, limit)
    try {
      const path = this.#cache.path(stored.digest)
      const body = await openAsBlob(path)
      const headers = { 'x-amz-content-sha256': stored.digest, 'content-type': 'application/octet-stream' }
      const response = await this.#ask('PUT', this.#key(stored.digest), { headers, body })
      await response.body?.cancel()
      if (!response.ok) throw unavailable(new Error(`PUT answered ${response.status}`))
      return stored
    } catch (error) {
      this.#cache.settle([stored.digest])
      throw error
    }
  }

  settle(digests: readonly string[]) {
    this.#cache.settle(digests)
  }

  async verify(digest: string): Promise<string> {
    const here = await stat(this.#cache.path(digest)).catch(() => undefined)
    if (here) return this.#cache.verify(digest)
    const known = this.#fetching.get(digest)
    if (known) return known
    const fetching = this.#fetch(digest).finally(() => this.#fetching.delete(digest))
    this.#fetching.set(digest, fetching)
    return fetching
  }

  async #fetch(digest: string): Promise<string> {
    const response = await this.#ask('GET', this.#key(digest))
    if (response.status === 404) {
      await response.body?.cancel()
      throw fail('BLOB_CORRUPT', {}, { cause: new Error('it is not in the object store') })
    }
    if (!response.ok || !response.body) throw unavailable(new Error(`GET answered ${response.status}`))
    const stored = await this.#cache.put(told(response.body))
    this.#cache.settle([stored.digest])
    if (stored.digest !== digest) throw fail('BLOB_CORRUPT')
    return this.#cache.path(digest)
  }

  /** Here and there; there only what is older than an hour by the store's own clock. */
  async sweep(references: () => Promise<ReadonlySet<string>>): Promise<Swept> {
    const swept: Swept = { blobs: 0, bytes: 0 }
    await this.#cache.sweep(async () => {
      const old: { digest: string; bytes: number }[] = []
      for await (const { digest, bytes, age } of this.#list()) if (age > GRACE) old.push({ digest, bytes })
      const referenced = await references()
      for (const { digest, bytes } of old) {
        if (referenced.has(digest)) continue
        const response = await this.#ask('DELETE', this.#key(digest))
        await response.body?.cancel()
        if (!response.ok && response.status !== 404) throw unavailable(new Error(`DELETE answered ${response.status}`))
        swept.blobs++
        swept.bytes += bytes
      }
      return referenced
    })
    return swept
  }

  async *#list(): AsyncGenerator<{ digest: string; bytes: number; age: number }> {
    let token: string | undefined
    do {
      const query = new URLSearchParams({ 'list-type': '2', prefix: this.#prefix })
      if (token !== undefined) query.set('continuation-token', token)
      const response = await this.#ask('GET', `?${query}`)
      if (!response.ok) throw unavailable(new Error(`LIST answered ${response.status}`))
      const now = Date.parse(response.headers.get('date') ?? '') || Date.now()
      const text = await response.text()
      for (const [, entry] of text.matchAll(/<Contents>(.*?)<\/Contents>/gs)) {
        const digest = /<Key>[^<]*?([0-9a-f]{64})<\/Key>/.exec(entry)?.[1]
        const modified = Date.parse(/<LastModified>([^<]+)</.exec(entry)?.[1] ?? '')
        const bytes = Number(/<Size>(\d+)</.exec(entry)?.[1] ?? 0)
        if (digest !== undefined) yield { digest, bytes, age: now - modified }
      }
      const next = /<NextContinuationToken>([^<]+)</.exec(text)?.[1]
      token = next?.replaceAll('&amp;', '&')
    } while (token !== undefined)
  }

  #key(digest: string): string {
    return `/${this.#prefix}${digest}`
  }

  async #ask(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    try {
      return await this.#client.fetch(this.#bucket + path, { method, signal: AbortSignal.timeout(DEADLINE), ...init })
    } catch (error) {
      throw error instanceof AthanorError ? error : unavailable(error)
    }
  }
}

/** The pieces of an answer; a connection that breaks is told as such. */
async function* told(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    throw unavailable(error)
  }
}
