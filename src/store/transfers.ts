import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'

/** A file on its way: its sha256, its size, and how much of it is here. */
export interface Transfer {
  digest: string
  bytes: number
  offset: number
}

/** Milliseconds that a file is kept after its last change. */
const KEPT = 24 * 3_600_000

/**
 * Files on their way in (a model to import) or out (one that was exported), by the sha256 of their content. One that
 * broke off goes on where it stopped, even after a restart: the part that is here says how far it came.
 */
export class Transfers {
  readonly #root: string
  readonly #writing = new Set<string>()

  constructor(home: string) {
    this.#root = join(home, 'transfers')
  }

  #path(digest: string, part = false): string {
    if (!/^[0-9a-f]{64}$/.test(digest)) throw fail('FILE_NOT_FOUND', { digest: digest.slice(0, 64) })
    return join(this.#root, part ? `${digest}.part` : digest)
  }

  /** How much of a file is here; removes what was left for a day. */
  async begin(digest: string, bytes: number): Promise<Transfer> {
    await this.#sweep()
    const whole = await sizeOf(this.#path(digest))
    return { digest, bytes, offset: whole ?? (await sizeOf(this.#path(digest, true))) ?? 0 }
  }

  /**
   * Adds bytes from `offset` on, which must be where the file stands. Once all are here they are compared with the
   * digest. Throws BAD_REQUEST, BODY_TOO_LARGE or FILE_DIFFERS.
   */
  async append(
    { digest, bytes, offset }: Transfer,
    content: AsyncIterable<Uint8Array>,
    limit: number,
  ): Promise<Transfer> {
    if (bytes > limit) throw fail('BODY_TOO_LARGE', { limit })
    const { offset: here } = await this.begin(digest, bytes)
    const part = this.#path(digest, true)
    if (offset !== here) throw fail('BAD_REQUEST', { message: `the file stands at byte ${here}, not ${offset}` })
    if (this.#writing.has(digest)) throw fail('BAD_REQUEST', { message: 'this file is being sent already' })
    if (here === bytes && (await sizeOf(this.#path(digest))) !== undefined) return { digest, bytes, offset: here }
    this.#writing.add(digest)
    try {
      await mkdir(this.#root, { recursive: true, mode: 0o700 })
      const file = await open(part, 'a', 0o600)
      let at = here
      try {
        for await (const piece of content) {
          at += piece.byteLength
          if (at > bytes) throw fail('BODY_TOO_LARGE', { limit: bytes })
          await file.writeFile(piece)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      if (at < bytes) return { digest, bytes, offset: at }
      if ((await digestOf(part)) !== digest) {
        await rm(part, { force: true })
        throw fail('FILE_DIFFERS', { digest })
      }
      await rename(part, this.#path(digest))
      return { digest, bytes, offset: bytes }
    } finally {
      this.#writing.delete(digest)
    }
  }

  /** Takes a finished file over from `path`. */
  async take(path: string): Promise<{ digest: string; bytes: number }> {
    await this.#sweep()
    await mkdir(this.#root, { recursive: true, mode: 0o700 })
    const digest = await digestOf(path)
    const bytes = (await sizeOf(path)) ?? 0
    await moveFile(path, this.#path(digest))
    return { digest, bytes }
  }

  /** Path and size of a file that is all here; throws FILE_NOT_FOUND. */
  async find(digest: string): Promise<{ path: string; bytes: number }> {
    const path = this.#path(digest)
    const bytes = await sizeOf(path)
    if (bytes === undefined) throw fail('FILE_NOT_FOUND', { digest })
    return { path, bytes }
  }

  async #sweep() {
    const oldest = Date.now() - KEPT
    for (const name of await readdir(this.#root).catch(() => [])) {
      const path = join(this.#root, name)
      const found = await stat(path).catch(() => undefined)
      if (found && found.mtimeMs < oldest) await rm(path, { force: true })
    }
  }
}

const sizeOf = async (path: string) => (await stat(path).catch(() => undefined))?.size

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** Renames, or copies where the target is on another disk. */
async function moveFile(from: string, to: string) {
  try {
    await rename(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    const { copyFile } = await import('node:fs/promises')
    await copyFile(from, `${to}.part`)
    await rename(`${to}.part`, to)
  }
}
