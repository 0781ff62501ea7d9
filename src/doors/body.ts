import { fail } from '../base/errors.ts'

/** Elements of tensors are at most so many bytes wide. */
const WIDEST = 8

/**
 * All of a stream, in one piece of memory of its own; what comes after the first `head` bytes lies where elements of any
 * width can. Throws BODY_TOO_LARGE as soon as it is over the limit.
 */
export async function collect(content: AsyncIterable<Uint8Array>, limit: number, head = 0): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of content) {
    size += part.byteLength
    if (size > limit) throw fail('BODY_TOO_LARGE', { limit })
    parts.push(part)
  }
  let at = (WIDEST - (head % WIDEST)) % WIDEST
  const whole = Buffer.allocUnsafeSlow(at + size).subarray(at)
  at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}
