import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import * as nodeFs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fail } from '../base/errors.ts'
import { assertRoom } from './home.ts'

/** The file operations that blobs are made of; a test replaces them to let the k-th one fail. */
export type Files = Pick<typeof nodeFs, 'mkdir' | 'open' | 'rename' | 'rm' | 'readdir' | 'stat'>

/** Bytes written between two looks at the free space. */
const LOOK_EVERY = 8 << 20

export interface StoredBlob {
  digest: string
  bytes: number
}

/**
 * Files addressed by the sha256 of their content. A blob is written beside its place, flushed, renamed and its folder
 * flushed, so that it is there whole or not at all.
 */
export class Blobs {
  readonly #root: string
  readonly #files: Files
  readonly #verified = new Set<string>()
  readonly #writing = new Set<string>()

  constructor(root: string, files: Files = nodeFs) {
    this.#root = root
    this.#files = files
  }

  /** Stores a stream of bytes; throws BODY_TOO_LARGE beyond `limit` or DISK_FULL, and leaves nothing behind when it fails. */
  async put(
    content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    limit = Number.POSITIVE_INFINITY,
  ): Promise<StoredBlob> {
    const folder = join(this.#root, 'incoming')
    await this.#files.mkdir(folder, { recursive: true })
    assertRoom(folder)
    const partial = join(folder, randomUUID())
    const hash = createHash('sha256')
    let bytes = 0
    let looked = 0
    let placed: string | undefined
    try {
      const file = await this.#files.open(partial, 'wx', 0o600)
      try {
        for await (const piece of content) {
          bytes += piece.byteLength
          if (bytes > limit) throw fail('BODY_TOO_LARGE', { limit })
          if (bytes - looked > LOOK_EVERY) {
            assertRoom(folder, piece.byteLength)
            looked = bytes
          }
          hash.update(piece)
          await file.writeFile(piece)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      const digest = hash.digest('hex')
      placed = digest
      this.#writing.add(digest) // a sweep must not take it before it is referenced
      const target = this.path(digest)
      await this.#files.mkdir(dirname(target), { recursive: true })
      await this.#files.rename(partial, target)
      const parent = await this.#files.open(dirname(target), 'r')
      try {
        await parent.sync()
      } finally {
        await parent.close()
      }
      return { digest, bytes }
    } catch (error) {
      if (placed) this.#writing.delete(placed)
      await this.#files.rm(partial, { force: true }).catch(() => undefined)
      throw error
    }
  }

  /** Tells that a blob is referenced from the database now, or never will be. */
  settle(digests: readonly string[]) {
    for (const digest of digests) this.#writing.delete(digest)
  }

  path(digest: string): string {
    if (!/^[0-9a-f]{64}$/.test(digest)) throw fail('INTERNAL', {}, { cause: new TypeError(`digest ${digest}`) })
    return join(this.#root, digest.slice(0, 2), digest.slice(2))
  }

  open(digest: string): NodeJS.ReadableStream {
    return createReadStream(this.path(digest))
  }

  /** Reads a blob once a process and compares its digest; a changed one is set aside and BLOB_CORRUPT thrown. */
  async verify(digest: string): Promise<string> {
    const path = this.path(digest)
    if (this.#verified.has(digest)) return path
    const hash = createHash('sha256')
    try {
      for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
    } catch (error) {
      throw fail('BLOB_CORRUPT', {}, { cause: error })
    }
    if (hash.digest('hex') !== digest) {
      const aside = join(this.#root, 'quarantine')
      await this.#files.mkdir(aside, { recursive: true })
      await this.#files.rename(path, join(aside, digest))
      throw fail('BLOB_CORRUPT')
    }
    this.#verified.add(digest)
    return path
  }

  /** Deletes blobs that nothing refers to, and what interrupted writes left. Returns how many. */
  async sweep(referenced: ReadonlySet<string>): Promise<number> {
    let removed = 0
    for (const folder of await this.#files.readdir(this.#root).catch(() => [])) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue
      for (const rest of await this.#files.readdir(join(this.#root, folder))) {
        const digest = folder + rest
        if (referenced.has(digest) || this.#writing.has(digest)) continue
        await this.#files.rm(join(this.#root, folder, rest), { force: true })
        this.#verified.delete(digest)
        removed++
      }
    }
    return removed
  }

  /** Removes what writes of an earlier process left behind; only for start-up. */
  async clearIncoming() {
    await this.#files.rm(join(this.#root, 'incoming'), { recursive: true, force: true })
  }
}
