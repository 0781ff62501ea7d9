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

/** Files addressed by the sha256 of their content: a blob is there whole or not at all. */
export interface Blobs {
  /** Stores a stream of bytes; throws BODY_TOO_LARGE beyond `limit` or DISK_FULL, and leaves nothing behind when it fails. */
  put(content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, limit?: number): Promise<StoredBlob>
  /** Tells that blobs are referenced from the database now, or never will be. */
  settle(digests: readonly string[]): void
  /** Path of a blob on this machine, compared with its digest when it is first asked for and when the file has changed; throws BLOB_CORRUPT. */
  verify(digest: string): Promise<string>
  /**
   * Deletes what `references`, asked after the sweep has begun, does not name; never what is being stored meanwhile.
   * Returns how many and how large they were.
   */
  sweep(references: () => Promise<ReadonlySet<string>>): Promise<Swept>
}

export interface Swept {
  blobs: number
  bytes: number
}

/** Blobs on disk: each is written beside its place, flushed, renamed, and its folder flushed. */
export class DiskBlobs implements Blobs {
  readonly #root: string
  readonly #files: Files
  /** Size and time of change with which a blob was found to have its digest. */
  readonly #verified = new Map<string, string>()
  readonly #writing = new Set<string>()
  /** What was stored since the sweep in progress began: its references may be older. */
  #fresh: Set<string> | undefined
  readonly #removing = new Map<string, Promise<void>>()

  constructor(root: string, files: Files = nodeFs) {
    this.#root = root
    this.#files = files
  }

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
      this.#fresh?.add(digest)
      await this.#removing.get(digest)
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

  settle(digests: readonly string[]) {
    for (const digest of digests) this.#writing.delete(digest)
  }

  path(digest: string): string {
    if (!/^[0-9a-f]{64}$/.test(digest)) throw fail('INTERNAL', {}, { cause: new TypeError(`digest ${digest}`) })
    return join(this.#root, digest.slice(0, 2), digest.slice(2))
  }

  /** A changed one is set aside. */
  async verify(digest: string): Promise<string> {
    const path = this.path(digest)
    const { size, mtimeMs } = await this.#files.stat(path).catch((error) => {
      throw fail('BLOB_CORRUPT', {}, { cause: error })
    })
    const stamp = `${size} ${mtimeMs}`
    if (this.#verified.get(digest) === stamp) return path
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
    this.#verified.set(digest, stamp)
    return path
  }

  async sweep(references: () => Promise<ReadonlySet<string>>): Promise<Swept> {
    const swept: Swept = { blobs: 0, bytes: 0 }
    this.#fresh = new Set()
    try {
      const referenced = await references()
      for (const folder of await this.#files.readdir(this.#root).catch(() => [])) {
        if (!/^[0-9a-f]{2}$/.test(folder)) continue
        for (const rest of await this.#files.readdir(join(this.#root, folder))) {
          const digest = folder + rest
          const path = join(this.#root, folder, rest)
          const { size = 0 } = (await this.#files.stat(path).catch(() => undefined)) ?? {}
          if (referenced.has(digest) || this.#writing.has(digest) || this.#fresh.has(digest)) continue
          this.#verified.delete(digest)
          const removed = this.#files.rm(path, { force: true })
          this.#removing.set(
            digest,
            removed.catch(() => undefined),
          )
          await removed.finally(() => this.#removing.delete(digest))
          swept.blobs++
          swept.bytes += size
        }
      }
      return swept
    } finally {
      this.#fresh = undefined
    }
  }

  /** Removes what writes of an earlier process left behind; only for start-up. */
  async clearIncoming() {
    await this.#files.rm(join(this.#root, 'incoming'), { recursive: true, force: true })
  }
}
