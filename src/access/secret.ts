import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'

/**
 * The secret that keys are hashed with: `ATHANOR_SECRET` where several servers share a database, else a file of the data
 * folder that only its user can read, made when it is missing. Throws HOME_UNUSABLE.
 */
export function readSecret(home: string, given = process.env.ATHANOR_SECRET): Buffer {
  if (given) return Buffer.from(given, 'utf8')
  const path = join(home, 'secret')
  try {
    try {
      writeFileSync(path, randomBytes(32), { mode: 0o600, flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const secret = readFileSync(path)
    if (secret.byteLength < 32) throw fail('HOME_UNUSABLE', { reason: 'its file "secret" is cut short' })
    return secret
  } catch (error) {
    if (error instanceof Error && 'status' in error) throw error
    throw fail('HOME_UNUSABLE', { reason: 'its file "secret" cannot be read' }, { cause: error })
  }
}

const BLOCK = 64

/**
 * HMAC-SHA256 with a secret (RFC 2104), from one-shot hashes: every request with a key takes one, and an object of
 * `createHmac` costs ten times as much as the hashing.
 */
export function hmacOf(secret: Buffer): (text: string) => Buffer {
  const key = Buffer.alloc(BLOCK)
  ;(secret.byteLength > BLOCK ? hash('sha256', secret, 'buffer') : secret).copy(key)
  const [inner, outer] = [0x36, 0x5c].map((pad) => Buffer.from(key.map((byte) => byte ^ pad)))
  return (text) => {
    const within = hash('sha256', Buffer.concat([inner, Buffer.from(text)]), 'buffer')
    return hash('sha256', Buffer.concat([outer, within]), 'buffer')
  }
}

/** Compares digests of 32 bytes in a time that says nothing of them. */
export const sameDigest = (a: Buffer, b: Buffer): boolean => timingSafeEqual(a, b)

const ID = 12
const SECRET = 43

/** A new key: `ath_<id>_<secret>`, the secret 256 bits from the system's random numbers. */
export function newToken(): { id: string; token: string } {
  const id = randomBytes(9).toString('hex').slice(0, ID)
  return { id, token: withNewSecret(id) }
}

export const withNewSecret = (id: string) => `ath_${id}_${randomBytes(32).toString('base64url')}`

/** The id within a key; undefined for what has not the shape of one. */
export function idOf(token: string): string | undefined {
  if (token.length !== 4 + ID + 1 + SECRET || !token.startsWith('ath_') || token[4 + ID] !== '_') return undefined
  return token.slice(4, 4 + ID)
}
