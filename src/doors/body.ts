import { fail } from '../base/errors.ts'

/** All of a stream; throws BODY_TOO_LARGE as soon as it is over the limit. */
export async function collect(content: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of content) {
    size += part.byteLength
    if (size > limit) throw fail('BODY_TOO_LARGE', { limit })
    parts.push(part)
  }
  return Buffer.concat(parts)
}
