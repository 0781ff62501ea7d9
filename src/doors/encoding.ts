import { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { fail } from '../base/errors.ts'

/** How a body may be compressed on its way (RFC 9110, 8.4.1). */
const decoders = { gzip: createGunzip, 'x-gzip': createGunzip, deflate: createInflate, br: createBrotliDecompress }

/**
 * A body as it was before it was compressed, read no further than it is asked for. Throws ENCODING_UNKNOWN; the stream
 * fails with BODY_TOO_LARGE as soon as more than `limit` bytes come out, and with BAD_REQUEST where it is not so encoded.
 */
export function decoded(payload: Readable, encoding: string, limit: number): Readable {
  const name = encoding.trim().toLowerCase()
  if (name === 'identity') return payload
  if (!Object.hasOwn(decoders, name)) throw fail('ENCODING_UNKNOWN', { encoding: name.slice(0, 40) })
  const decoder = decoders[name as keyof typeof decoders]()
  async function* plain() {
    const broken = () => void (payload.readableEnded || decoder.destroy())
    payload.once('error', broken).once('close', broken).pipe(decoder)
    let size = 0
    try {
      for await (const part of decoder as AsyncIterable<Buffer>) {
        size += part.byteLength
        if (size > limit) throw fail('BODY_TOO_LARGE', { limit })
        yield part
      }
    } catch (error) {
      if (size > limit) throw error
      throw fail('BAD_REQUEST', { message: `the body is not ${name}, as its content-encoding says` }, { cause: error })
    } finally {
      payload.unpipe(decoder).resume() // what is left is passed over, so that the answer can be read
    }
  }
  return Readable.from(plain(), { objectMode: false })
}
