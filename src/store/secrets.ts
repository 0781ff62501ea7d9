import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/**
 * Seals short texts with AES-256-GCM under a key derived from `ATHANOR_SECRET` (HKDF, RFC 5869), which servers of one
 * database share, or else the key in the data folder (`secret.key`, mode 0600, made when first used): a nonce of 12 bytes,
 * what is sealed, a tag of 16. `of` says what a text is for; it opens for nothing else.
 */
export class Secrets {
  readonly #path: string
  #key: Buffer | undefined

  constructor(home: string, shared = process.env.ATHANOR_SECRET) {
    this.#path = join(home, 'secret.key')
    if (shared) this.#key = Buffer.from(hkdfSync('sha256', shared, '', 'athanor secrets', KEY_BYTES))
  }

  seal(text: string, of: string): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#own(), nonce).setAAD(Buffer.from(of))
    return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
  }

  /** Throws SECRET_UNREADABLE when it was sealed under another key, for something else, or was changed. */
  unseal(sealed: Uint8Array, of: string): string {
    const key = this.#own()
    try {
      const bytes = Buffer.from(sealed)
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(Buffer.from(of)).setAuthTag(bytes.subarray(-TAG_BYTES))
      const text = [decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]
      return Buffer.concat(text).toString('utf8')
    } catch {
      throw fail('SECRET_UNREADABLE') // nothing of why: it could tell of the key
    }
  }

  #own(): Buffer {
    this.#key ??= this.#read() ?? this.#make()
    return this.#key
  }

  #read(): Buffer | undefined {
    let key: Buffer
    try {
      key = readFileSync(this.#path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw fail('HOME_UNUSABLE', { reason: 'its secret.key cannot be read' }, { cause: error })
    }
    if (key.byteLength !== KEY_BYTES) throw fail('HOME_UNUSABLE', { reason: 'its secret.key is not a key' })
    return key
  }

  /** A new key appears whole or not at all; one that another process made meanwhile is kept. */
  #make(): Buffer {
    const part = `${this.#path}.${process.pid}.part`
    rmSync(part, { force: true })
    const file = openSync(part, 'wx', 0o600)
    writeSync(file, randomBytes(KEY_BYTES))
    fsyncSync(file)
    closeSync(file)
    try {
      linkSync(part, this.#path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      rmSync(part, { force: true })
    }
    return this.#read()!
  }
}
